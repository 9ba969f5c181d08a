"""The documentation as `make docs` builds it: without warnings, without the network, with each public name."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from quart import Quart
from sphinx.util.inventory import InventoryFile

import quartapp
import quartapp.mock
import quartapp.signals
import quartapp.testing
from tests.support.sampling import SOAK
from tests.support.serving import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS) for path in DOCS.rglob("*.md"))

PUBLIC = [
    *(f"quartapp.{name}" for name in quartapp.__all__),
    *(f"quartapp.mock.{name}" for name in quartapp.mock.__all__),
    *(f"quartapp.testing.{name}" for name in quartapp.testing.__all__),
    "quartapp.signals.answer_ended",
]


def the(name: str) -> Any:
    """Return the object with the dotted public `name`."""
    module, _, own = name.rpartition(".")
    return getattr(importlib.import_module(module), own)


def members() -> Iterator[str]:
    """Return the functions and properties of the public classes and their bases of ours, except the settings."""
    for name in PUBLIC:
        if inspect.isclass(the(name)) and the(name) is not quartapp.Settings:
            ours = [kind for kind in inspect.getmro(the(name)) if kind.__module__.partition(".")[0] == "quartapp"]
            for member, value in (pair for kind in ours for pair in vars(kind).items()):
                if not member.startswith("_") and isinstance(value, property) | inspect.isfunction(value):
                    yield f"{name}.{member}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the built pages. Building takes about 7 seconds of one core."""
    folder = tmp_path_factory.mktemp("docs")
    options = ["-W", "--keep-going", "-n", "-q", "-d", str(folder / "doctrees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(folder / "html")],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder / "html"


pytestmark = pytest.mark.timeout(300)


@SOAK
def test_each_page_is_built_without_a_warning(built: Path) -> None:
    assert len(PAGES) > 20
    assert [page for page in PAGES if not (built / page.with_suffix(".html")).exists()] == []


def test_the_reference_has_each_public_name(built: Path) -> None:
    inventory = InventoryFile.loads((built / "objects.inv").read_bytes(), uri="")
    listed = {name for kind, names in inventory.data.items() if kind.startswith("py:") for name in names}
    assert "quartapp.ChatError.status" in members()
    assert [name for name in [*PUBLIC, *members()] if name not in listed] == []


def test_a_page_loads_nothing_from_another_host(built: Path) -> None:
    loads = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=\"(?:https?:)?//[^\"]*")
    styles = re.compile(r"(?:@import|url\()\s*[\"']?(?:https?:)?//")
    assert [found[0] for path in built.rglob("*.html") for found in loads.finditer(path.read_text("utf-8"))] == []
    assert [path.name for path in built.rglob("*.css") if styles.search(path.read_text("utf-8"))] == []


def test_the_examples_of_public_docstrings_are_true() -> None:
    names = vars(quartapp) | vars(quartapp.mock) | vars(quartapp.testing) | {"Quart": Quart, "flask": flask}
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    finder = doctest.DocTestFinder(recurse=False)
    ran = {}
    for name in PUBLIC:
        for test in finder.find(the(name), name, globs=dict(names)):
            ran[name] = len(test.examples)
            runner.run(test)
    for name in set(members()) - NEED_A_RUNNING_APP:
        owner, _, member = name.rpartition(".")
        value = inspect.getattr_static(the(owner), member)
        for test in finder.find(value.fget if isinstance(value, property) else value, name, globs=dict(names)):
            runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
    functions = {name for name in PUBLIC if inspect.isfunction(the(name))}
    assert {name for name in functions if not ran.get(name)} == WITHOUT_EXAMPLE


#: One needs a request, and the others take one text and return a bool.
WITHOUT_EXAMPLE = {
    "quartapp.bearer_token",
    *(f"quartapp.mock.{name}" for name in ("counts_tokens", "is_fault", "offers")),
}

#: Their examples are code inside of an app. The tests of the guides run such code.
NEED_A_RUNNING_APP = {"quartapp.Chat.stream", "quartapp.Chat.iterate", "quartapp.Chat.run"}
