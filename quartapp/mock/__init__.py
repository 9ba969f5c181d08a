"""The mock model: an OpenAI-compatible server that needs no key, with faults on demand.

It is an ASGI application that shares no code with the rest of the package, so that each can check the other. A module
of this list imports only from modules above it:

    tokens      text split into tokens, and an answer as a stream of deltas
    requests    the parser of requests, and their errors
    player      the steps of a script, and their performance in time
    chunks      the script of a request without a fault, and the JSON of responses
    responses   the same for OpenAI's Responses API: its requests and its events
    answers     the content of answers, by a model or by a test
    faults      faults of streams: they alter a script
    refusals    faults that answer with another HTTP status
    catalogue   all models by name
    server      the routes and the ASGI application
"""

from __future__ import annotations

from .answers import Choose, Reply, Request
from .catalogue import CATALOGUE, DEFAULT_MODEL, counts_tokens, is_fault, offers
from .server import ASGIApp, create_mock

__all__ = (
    "CATALOGUE",
    "DEFAULT_MODEL",
    "ASGIApp",
    "Choose",
    "Reply",
    "Request",
    "counts_tokens",
    "create_mock",
    "is_fault",
    "offers",
)
