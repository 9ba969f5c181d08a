"""The mock model: an OpenAI-compatible server that needs no key, with every fault on demand.

It is a plain ASGI application which shares no code with the rest of the project, so that each can check the other.
The modules, in order; later ones may import earlier ones, never back:

    tokens        text cut into tokens, and an answer as a stream of deltas
    attachments   what comes with a question beside its text
    requests      what a client may ask, and how it is refused
    chunks        the JSON that goes out
    steps         what the server does, step by step: the words that scripts are written in
    scripts       a request's ordinary script
    answers       what is said
    models        what a model of the catalogue is, and those that behave
    alterations   how a fault alters a script
    usages        how a fault reports usage
    writes        how a fault writes the same events in other bytes
    refusals      faults that answer with another HTTP status
    faults        the table of faults
    catalogue     all models by name
    routes        a request's way to its script
    player        scripts performed in time
    server        the ASGI application
"""

from __future__ import annotations

from .catalogue import CATALOGUE, DEFAULT_MODEL, is_fault, offers
from .player import ASGIApp
from .server import create_mock

__all__ = ("CATALOGUE", "DEFAULT_MODEL", "ASGIApp", "create_mock", "is_fault", "offers")
