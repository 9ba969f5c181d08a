"""The README's figures: a few of those on the page of all of them."""

from __future__ import annotations

import re

ROWS = (
    "nginx `proxy_pass`, no buffering: the limit",
    "quartapp on hypercorn",
    "quartapp on gunicorn",
    "the usual way, Quart on hypercorn",
)
#: A column's name in the README, the first word of its section on the page, and its name there.
COLUMNS = {
    "CPU µs a token": ("Steady", "CPU µs a token"),
    "x nginx": ("Steady", "x nginx"),
    "added delay p50 ms": ("Steady", "added delay p50 ms"),
    "p99": ("Steady", "p99"),
    "CPU ms a request": ("Requests", "CPU ms a request"),
    "KB an open answer": ("Idle", "KB an answer"),
}
FIGURES = re.compile(r"(?<=<!-- figures -->\n).*?(?=\n<!-- /figures -->)", re.DOTALL)

Tables = dict[str, dict[str, dict[str, str]]]
"""Cells by section, row and column; of several rows or columns of one name the first counts."""


def tables(page: str) -> Tables:
    return {section.split(":", 1)[0]: _rows(section) for section in page.split("\n## ")[1:]}


def _rows(section: str) -> dict[str, dict[str, str]]:
    head, _, *rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return {row[0]: dict(reversed(list(zip(head, row, strict=True)))) for row in reversed(rows)}


def figures(page: str) -> str:
    """The README's table. Raises KeyError for a page without all of its figures, say of a run of one server alone."""
    found = tables(page)
    lines = [[row, *[_median(found[section][row][name]) for section, name in COLUMNS.values()]] for row in ROWS]
    head = ["", *COLUMNS]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines))


def _median(cell: str) -> str:
    return cell.partition(" (")[0]


def with_figures(readme: str, page: str) -> str:
    return FIGURES.sub(figures(page), readme)
