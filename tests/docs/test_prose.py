"""The mechanical part of how the project writes: how docstrings open, and words that have a plainer one."""

from __future__ import annotations

import ast
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "quartapp").rglob("*.py"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

#: Words that open a question. A function's docstring opens with a verb, a class's with a noun.
QUESTIONS = {"what", "who", "whom", "whose", "which", "how", "where", "when", "whether", "why"}

#: Words of our own, and the field's word for each.
PLAINER = {
    r"doors?\b": "route, endpoint",
    r"stand-ins?\b": "fallback",
    r"(?:asked|ask|asks|asking) again\b": "retried, retry",
    r"broken off\b": "aborted",
    r"as it came\b": "unchanged",
    r"told anew\b": "re-encoded",
    r"lets? go of\b": "closes, releases",
    r"the gate\b": "the status timeout",
    r"whoever\b": "the client, the host app",
    r"nobody\b": "no client, no request",
    r"beside\b": "next to, in addition to",
}


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text
        if isinstance(node, ast.ClassDef):
            yield from field_docstrings(node)


def field_docstrings(node: ast.ClassDef) -> Iterator[tuple[int, str]]:
    """Yield the strings below fields, which describe them."""
    for field, below in pairwise(node.body):
        match below:
            case ast.Expr(value=ast.Constant(value=str(text))) if isinstance(field, ast.AnnAssign):
                yield below.lineno, text


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def questions(source: str) -> list[str]:
    """Return the openings of the docstrings that ask a question."""
    openings = ((line, text.partition("\n")[0]) for line, text in docstrings(ast.parse(source)))
    return [
        f"{line}: {first}" for line, first in openings if re.split(r"\W", first.lower(), maxsplit=1)[0] in QUESTIONS
    ]


def private_words(text: str) -> list[str]:
    """Return the private words in `text`, each with its plainer one."""
    return [
        f"{found[0]} -> {plainer}"
        for word, plainer in PLAINER.items()
        for found in re.finditer(rf"\b{word}", text, re.IGNORECASE)
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_open_with_a_verb_or_a_noun(path: Path) -> None:
    assert questions(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_is_explained_in_the_words_of_the_field(path: Path) -> None:
    texts = [*docstrings(ast.parse(path.read_text(encoding="utf-8"))), *comments(path)]
    assert [f"{line}: {word}" for line, text in texts for word in private_words(text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_written_in_the_words_of_the_field(page: Path) -> None:
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    assert [f"{number}: {word}" for number, line in lines for word in private_words(line)] == []


def test_the_rules_find_what_they_are_for() -> None:
    assert questions('"""What a client sends."""') == ["1: What a client sends."]
    assert questions('"""The request of a client."""\ndef f():\n    """Whether it is."""') == ["2: Whether it is."]
    assert private_words("Behind the door, nobody is asked again.") == [
        "door -> route, endpoint",
        "asked again -> retried, retry",
        "nobody -> no client, no request",
    ]


def test_a_class_name_is_one_class() -> None:
    """The folder `mock/` is left out, because it shares no code with the rest."""
    holders: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        if "mock" not in path.parts:
            classes = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ClassDef))
            for node in classes:
                holders[node.name].append(path.name)
    assert {name: paths for name, paths in holders.items() if len(paths) > 1} == {}
