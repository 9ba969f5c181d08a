"""The table of clients in docs/reference/protocol.md: made of what is pinned, and of nothing that no test tries."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import version as installed_version

from tests.support import conformance
from tests.support.conformance import CASES, CLIENTS, PROTOCOL, split_page, table, version
from tests.support.serving import ROOT

TESTS = ("tests.clients.test_python", "tests.clients.test_node", "tests.browser.test_conformance")


def test_the_table_is_the_one_of_these_tests() -> None:
    _, rows, _ = split_page(PROTOCOL.read_text(encoding="utf-8"))
    assert rows == table(), "write it anew: python -m tests.support.conformance"


def test_everything_in_the_table_is_tried() -> None:
    for module in TESTS:
        importlib.import_module(module)
    assert {(client.name, case) for client in CLIENTS.values() for case in client.tried.split()} == conformance.TRIED
    assert {case for _, case in conformance.TRIED} == set(CASES)


def test_the_versions_of_the_table_are_those_that_were_tried() -> None:
    packages = {client.package for client in CLIENTS.values() if client.package}
    of_python = [package for package in packages if not package.startswith("npm:")]
    assert {package: installed_version(package) for package in of_python} == {
        package: version(package) for package in of_python
    }


def test_the_lock_of_npm_names_no_registry() -> None:
    """A lock that named a registry would bind everyone to that one."""
    lock = (ROOT / "tests" / "node" / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert len(re.findall('"integrity": "sha512-', lock)) == len(re.findall('"node_modules/', lock))
