"""The code of the guides, run: models, tests, another origin, a login."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from quart import Quart, Request, session

from quartapp import chat_blueprint
from tests.support.serving import ROOT

GUIDES = ROOT / "docs" / "howto"


def block(name: str, language: str = "python", index: int = 0) -> str:
    """Return the fenced block number `index` in `language` of a guide."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", (GUIDES / name).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return str(found[index])


def project(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "project"}
    exec(code, names)
    return names


async def answer_to(app: Quart, **question: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the status and the records of an answer."""
    async with app.test_app() as running:
        response = await running.test_client().post(
            "/ai/api/stream", json=question, headers={"Accept": "application/x-ndjson"}
        )
        return response.status_code, [json.loads(line) for line in (await response.get_data(as_text=True)).splitlines()]


async def test_the_models_in_python_answer() -> None:
    app = project(block("own-model.md"))["app"]
    status, records = await answer_to(app, message="hi")
    assert (status, [record["type"] for record in records]) == (200, ["start", "delta", "done"])
    assert records[1]["text"] == "An old silent pond"
    status, records = await answer_to(app, message="hi", model="careful")
    assert [record["type"] for record in records] == ["start", "reasoning", "delta", "done"]
    assert records[-1]["usage"] == {"input_tokens": 4, "output_tokens": 2, "total_tokens": 6}
    status, records = await answer_to(app, message="secret", model="careful")
    assert (status, records[0]["error"]["code"]) == (400, "content_filtered")


@pytest.mark.timeout(180)
def test_the_tests_of_the_guide_pass_with_a_key_in_the_environment(tmp_path: Path) -> None:
    (tmp_path / "test_chat.py").write_text(block("test.md"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "sk-unused"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr


async def test_a_front_end_on_another_port_may_read_answers() -> None:
    app = project(block("cors.md"))["app"]
    async with app.test_app() as running:
        for origin, allowed in (("http://localhost:5173", "http://localhost:5173"), ("http://localhost:5174", None)):
            response = await running.test_client().get("/ai/api/models", headers={"Origin": origin})
            assert response.headers.get("Access-Control-Allow-Origin") == allowed


def test_the_command_of_the_guide_sets_the_same_origin() -> None:
    (origin,) = re.findall(r"^CHAT_ORIGINS=(\S+) python -m quartapp$", block("cors.md", "sh"), re.MULTILINE)
    assert origin in project(block("cors.md"))["app"].config["CHAT_ORIGINS"]


async def test_a_project_with_a_login_returns_its_user() -> None:
    names: dict[str, Any] = {"Request": Request, "session": session}
    exec(block("protect.md", "py"), names)
    app = Quart(__name__)
    app.secret_key = "secret"
    app.register_blueprint(chat_blueprint(authenticate=names["who"]), url_prefix="/ai")
    app.config["CHAT_MODELS"] = {"mock": {"kind": "mock"}}

    @app.post("/login")
    async def login() -> str:
        session["user_id"] = "alice"
        return ""

    async with app.test_app() as running:
        client = running.test_client()
        assert (await client.post("/ai/api/stream", json={"message": "count to 1"})).status_code == 401
        await client.post("/login")
        response = await client.post("/ai/api/stream", json={"message": "count to 1"})
        assert (response.status_code, await response.get_data(as_text=True)) == (200, "1")


def test_the_flask_app_in_place_of_the_snippet_has_the_chat() -> None:
    asgi = project(block("switch.md"))["asgi"]
    assert "/ai/api/stream" in [rule.rule for rule in asgi.url_map.iter_rules()]
