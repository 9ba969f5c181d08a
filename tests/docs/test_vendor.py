"""The libraries that the page brings along: each as published, with its licence, and named in a manifest."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import ROOT

STATIC = ROOT / "quartapp" / "static"
VENDOR = STATIC / "vendor"

MANIFEST: dict[str, Any] = json.loads((VENDOR / "manifest.json").read_text(encoding="utf-8"))
LIBRARIES: list[dict[str, Any]] = MANIFEST["libraries"]
FILES: list[dict[str, str]] = [file for library in LIBRARIES for file in library["files"]]

#: A sentence that each licence contains.
LICENCES = {"MIT": "Permission is hereby granted, free of charge", "CC0-1.0": "CC0 1.0 Universal"}

#: Names with which a text is read as HTML or as a script.
HTML_SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser|setHTML|document\.write|\beval\b"
    r"|new Function|\bstyle\s*=|setAttribute\(\s*[\"'`](?:on|style|id|name|src)"
)


def named(library: dict[str, Any]) -> str:
    return str(library["name"])


def own_modules() -> list[Path]:
    return sorted(path for path in STATIC.rglob("*.js") if VENDOR not in path.parents)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file["file"])
def test_a_vendored_file_is_the_one_that_was_published(file: dict[str, str]) -> None:
    """Compare the hash with the one of `node tests/node/vendor.mjs`, which downloads the file from npm."""
    assert hashlib.sha256((VENDOR / file["file"]).read_bytes()).hexdigest() == file["sha256"]


def test_nothing_is_vendored_that_the_manifest_does_not_name() -> None:
    there = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()}
    assert there == {file["file"] for file in FILES} | {"manifest.json"}


@pytest.mark.parametrize("library", LIBRARIES, ids=named)
def test_a_library_comes_with_its_licence(library: dict[str, Any]) -> None:
    (licence,) = [file["file"] for file in library["files"] if file["file"].endswith("LICENSE")]
    assert LICENCES[library["licence"]] in (VENDOR / licence).read_text(encoding="utf-8")


@pytest.mark.parametrize("library", LIBRARIES, ids=named)
def test_a_library_has_the_version_in_the_manifest(library: dict[str, Any]) -> None:
    head = (VENDOR / library["files"][0]["file"]).read_text(encoding="utf-8")[:200]
    assert re.search(rf"(?:v|\"version\": \"){re.escape(library['version'])}\b", head)
    assert library["source"] == f"https://www.npmjs.com/package/{library['npm']}/v/{library['version']}"


def test_highlighting_lists_exactly_the_vendored_grammars() -> None:
    source = (STATIC / "element" / "markdown_colours.js").read_text(encoding="utf-8")
    rows = re.findall(r'^  \["[^"]+", (.+)\],$', source, re.MULTILINE)
    listed = {grammar for row in rows for grammar in re.findall(r'"([^"]+)"', row)}
    there = {path.stem for path in (VENDOR / "speed-highlight" / "languages").iterdir()}
    assert listed == there


@pytest.mark.parametrize("path", own_modules(), ids=lambda path: path.relative_to(STATIC).as_posix())
def test_no_own_module_can_make_html_of_a_text(path: Path) -> None:
    assert HTML_SINKS.findall(path.read_text(encoding="utf-8")) == []


def test_the_search_for_such_modules_finds_one() -> None:
    for line in ("a.innerHTML = b", "el.setAttribute('onclick', x)", "eval(x)", "a.style = x", "new Function(x)"):
        assert HTML_SINKS.search(line)


def test_the_modules_of_markdown_before_the_first_code_are_small() -> None:
    """Gzipped, as a proxy sends it; what colours code comes with the first code."""
    modules = [*(STATIC / "element").glob("markdown*.js"), STATIC / "element" / "code.js"]
    at_once = [path for path in modules if path.name != "markdown_colours.js"]
    assert gzipped_bytes(VENDOR / "marked" / "marked.esm.js") < 16_000
    assert sum(map(gzipped_bytes, at_once)) < 16_500


def gzipped_bytes(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9))
