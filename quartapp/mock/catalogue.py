"""All models, without and with a fault, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .faults import FAULTS
from .models import MODELS, Model

DEFAULT_MODEL = "mock"

ALL: Mapping[str, Model] = MappingProxyType({**MODELS, **FAULTS})

CATALOGUE: Mapping[str, str] = MappingProxyType({name: model.about for name, model in ALL.items()})
"""The name of each model, without its parameter, and one sentence that describes it."""


def find(name: str) -> tuple[Model, float] | None:
    """Return the model and the value of its parameter, or None if it is unknown or the parameter is out of range."""
    base, colon, text = name.partition(":")
    model = ALL.get(base)
    if model is None:
        return None
    value = model.read(text if colon else None)
    return None if value is None else (model, value)


def offers(name: str) -> bool:
    """Return whether there is a model of that name, with a parameter or without."""
    return find(name) is not None


def is_fault(name: str) -> bool:
    """Return whether the model of that name, without a parameter, answers with a fault."""
    return name in FAULTS
