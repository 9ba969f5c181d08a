"""The element's modules that need no page: their own tests, in Node."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from tests.support.serving import ROOT

STATIC = ROOT / "quartapp" / "static"


def test_the_element_sends_and_stores_a_chat(needs: Callable[[str], str]) -> None:
    command = [needs("node"), "--test", "--test-reporter=tap", "element.test.mjs"]
    done = subprocess.run(command, cwd=ROOT / "tests" / "node", capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n# fail 0" in done.stdout
    assert "\n# pass 0" not in done.stdout


def test_each_script_of_the_element_has_its_types_checked() -> None:
    scripts = [STATIC / "quart-chat.js", *STATIC.glob("element/*.js")]
    assert len(scripts) > 15
    assert [path.name for path in scripts if "\n// @ts-check\n" not in path.read_text(encoding="utf-8")] == []
