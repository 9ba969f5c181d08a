"""The type of the object that each protocol exports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from quart import Blueprint

from quartapp.openapi.operations import Section
from quartapp.routes.context import RouteContext


class Protocol(NamedTuple):
    """One protocol of clients: its routes, and its section of the OpenAPI document.

    `paths` are the paths that `add_routes` adds to the given blueprint itself, each with its methods. A protocol whose
    errors have a form of their own registers a nested blueprint, and has no such paths.
    """

    add_routes: Callable[[Blueprint, RouteContext], None]
    section: Section
    paths: Mapping[str, tuple[str, ...]] = {}
