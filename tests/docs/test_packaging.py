"""The versions that CI installs."""

from __future__ import annotations

import tomllib
from functools import cache

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.serving import ROOT


def _requirements(text: str) -> list[Requirement]:
    lines = (line.partition(" #")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@cache
def _locked() -> list[Requirement]:
    return _requirements((ROOT / "requirements-dev.lock").read_text(encoding="utf-8"))


def _dependencies() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    files = [(ROOT / name).read_text(encoding="utf-8") for name in ("requirements.txt", "bench/requirements.txt")]
    lines = [line for extra in project["optional-dependencies"].values() for line in extra]
    required = _requirements("\n".join([*files, *lines]))
    return [requirement for requirement in required if requirement.name != project["name"]]


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_the_lock_has_one_allowed_version_of_each_dependency_for_each_python(version: str) -> None:
    environment = {"python_version": version, "python_full_version": f"{version}.0"}
    locked: dict[str, list[Requirement]] = {}
    for pin in _locked():
        if pin.marker is None or pin.marker.evaluate(environment):
            locked.setdefault(canonicalize_name(pin.name), []).append(pin)
    assert {name: pins for name, pins in locked.items() if len(pins) > 1} == {}
    for required in _dependencies():
        (pin,) = locked[canonicalize_name(required.name)]
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert required.specifier.contains(exact.version), required


def test_the_lock_names_no_package_index() -> None:
    assert all(pin.url is None for pin in _locked())
    assert "--" not in (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
