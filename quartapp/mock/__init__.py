"""The mock model: an OpenAI-compatible server that needs no key, with faults on demand.

It is an ASGI application that shares no code with the rest of the package, so that each can check the other. A module
of this list imports only from modules above it:

    tokens        text split into tokens, and an answer as a stream of deltas
    attachments   the attachments of a message
    requests      the parser of requests, and their errors
    chunks        the JSON of responses
    steps         the steps of a script
    scripts       the script of a request without a fault
    answers       the content of answers
    models        the type of a model, and the models without a fault
    alterations   faults that insert or remove steps
    usages        faults of the reported usage
    writes        faults that write the same events in other bytes
    refusals      faults that answer with another HTTP status
    faults        the table of faults
    catalogue     all models by name
    routes        from a request to its script
    player        performs a script in time
    server        the ASGI application
"""

from __future__ import annotations

from .catalogue import CATALOGUE, DEFAULT_MODEL, is_fault, offers
from .player import ASGIApp
from .server import create_mock

__all__ = ("CATALOGUE", "DEFAULT_MODEL", "ASGIApp", "create_mock", "is_fault", "offers")
