"""The code of the guides, run: models, tests, another origin, a login."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import flask
import flask_login
import pytest
import quart_auth
from flask_login import UserMixin
from quart import Quart, session

from quartapp import Chat, ChatRequest
from quartapp.flask.loop import close_background_loop
from quartapp.signals import answer_ended
from quartapp.testing import MockModel
from quartapp.testing.formats import FORMATS
from tests.support.documents import blocks
from tests.support.sampling import SOAK
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
@pytest.mark.parametrize("key", ["", pytest.param("sk-unused", marks=SOAK)], ids=["without a key", "with a key"])
def test_the_tests_of_the_guide_pass(tmp_path: Path, key: str) -> None:
    for code in blocks(GUIDES / "test.md"):
        if code.language == "python":
            assert code.file
            (tmp_path / code.file).write_text(code.text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_quartapp"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert "15 passed" in done.stdout, done.stdout + done.stderr


async def test_a_front_end_on_another_port_may_read_answers() -> None:
    app = project(block("cors.md"))["app"]
    async with app.test_app() as running:
        for origin, allowed in (("http://localhost:5173", "http://localhost:5173"), ("http://localhost:5174", None)):
            response = await running.test_client().get("/ai/api/models", headers={"Origin": origin})
            assert response.headers.get("Access-Control-Allow-Origin") == allowed


def test_the_command_of_the_guide_sets_the_same_origin() -> None:
    (origin,) = re.findall(r"^CHAT_ORIGINS=(\S+) python -m quartapp$", block("cors.md", "sh"), re.MULTILINE)
    assert f'origins=["{origin}"' in block("cors.md")


def test_the_guide_lists_faults_and_failures_that_exist() -> None:
    table = (GUIDES / "test.md").read_text("utf-8").partition("## Failures")[2].partition("\n\nThese are")[0]
    model = MockModel()
    for call in re.findall(r"^\| `((?:fail|fault)\(.+?\))` \|", table, re.MULTILINE):
        eval(f"model.{call}", {"model": model})
    for code in re.findall(r"`(\w+_\w+)`", table.splitlines()[4]):
        model.fail(code)
    assert model.pending == 8 + 7


def test_the_guide_lists_the_formats_of_the_clients() -> None:
    table = (GUIDES / "test.md").read_text("utf-8").partition("| format | route |")[2].partition("\n\n")[0]
    listed = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(listed) == sorted(FORMATS)


# -- logins

LOGINS = re.findall(
    r"^\| ([^|]+) \| `(chat\.authenticate\(.+\))` \|$", (GUIDES / "protect.md").read_text("utf-8"), re.MULTILINE
)
QUESTION = {"message": "count to 1"}


def line_for(login: str) -> str:
    (line,) = [str(line) for name, line in LOGINS if login in name]
    return line


class User(UserMixin):  # type: ignore[misc]
    id = "alice"


def flask_project(line: str, **names: Any) -> flask.Flask:
    app = flask.Flask("project")
    app.secret_key = "secret"
    exec(line, {"chat": Chat(app, url_prefix="/ai", mock_tokens_per_s=0), **names})
    return app


def check_flask_login(app: flask.Flask) -> None:
    client = app.test_client()
    assert client.post("/ai/api/stream", json=QUESTION).status_code == 401
    assert client.post("/login").status_code == 200
    response = client.post("/ai/api/stream", json=QUESTION)
    assert (response.status_code, response.text) == (200, "1")


async def check_quart_login(app: Quart) -> None:
    async with app.test_app() as running:
        client = running.test_client()
        assert (await client.post("/ai/api/stream", json=QUESTION)).status_code == 401
        assert (await client.post("/login")).status_code == 200
        response = await client.post("/ai/api/stream", json=QUESTION)
        assert (response.status_code, await response.get_data(as_text=True)) == (200, "1")


def test_the_page_has_a_line_for_each_login() -> None:
    assert len(LOGINS) == 4


@pytest.mark.usefixtures("closed_loop")
def test_the_line_for_flask_login_protects_the_chat() -> None:
    app = flask_project(line_for("Flask-Login"), current_user=flask_login.current_user)
    flask_login.LoginManager(app).user_loader(lambda _: User())
    app.post("/login")(lambda: str(flask_login.login_user(User(), remember=True)))
    check_flask_login(app)


@pytest.mark.usefixtures("closed_loop")
def test_the_line_for_a_session_of_flask_protects_the_chat() -> None:
    app = flask_project(line_for("the session"), session=flask.session)

    @app.post("/login")
    def login() -> str:
        flask.session["user_id"] = "alice"
        return ""

    check_flask_login(app)


@pytest.mark.usefixtures("closed_loop")
def test_the_line_for_g_user_protects_the_chat() -> None:
    app = flask_project(line_for("g.user"), g=flask.g)

    @app.before_request
    def load() -> None:
        flask.g.user = {"id": 7} if "user_id" in flask.session else None

    @app.post("/login")
    def login() -> str:
        flask.session["user_id"] = 7
        return ""

    check_flask_login(app)


async def test_the_line_for_a_session_of_quart_protects_the_chat() -> None:
    app = Quart("project")
    app.secret_key = "secret"
    exec(line_for("the session"), {"chat": Chat(app, url_prefix="/ai", mock_tokens_per_s=0), "session": session})

    @app.post("/login")
    async def login() -> str:
        session["user_id"] = "alice"
        return ""

    await check_quart_login(app)


async def test_the_line_for_quart_auth_protects_the_chat() -> None:
    app = Quart("project")
    app.secret_key = "secret"
    app.config["QUART_AUTH_COOKIE_SECURE"] = False
    quart_auth.QuartAuth(app)
    names = {"chat": Chat(app, url_prefix="/ai", mock_tokens_per_s=0), "current_user": quart_auth.current_user}
    exec(line_for("quart-auth"), names)

    @app.post("/login")
    async def login() -> str:
        quart_auth.login_user(quart_auth.AuthUser("alice"))
        return ""

    await check_quart_login(app)


# -- hooks


@pytest.fixture
def closed_loop() -> Iterator[None]:
    """Close the background loop after the test, which waits for the hooks."""
    yield
    close_background_loop()


def python_of(name: str) -> str:
    """Return all Python blocks of a guide, which are one module."""
    return "\n".join(block.text for block in blocks(GUIDES / name) if block.language == "python")


@pytest.mark.usefixtures("closed_loop")
def test_the_hooks_of_the_guide_run_around_an_answer() -> None:
    module = project(python_of("hooks.md"))
    chat: Chat = module["chat"]
    seen: list[ChatRequest] = []

    @chat.model("spy")
    async def spy(request: ChatRequest) -> AsyncIterator[str]:
        seen.append(request)
        yield "seen"

    chat.prepare(lambda request, _: request.with_model("spy") if request.text == "look" else None)
    client = module["app"].test_client()
    try:
        assert client.post("/ai/api/stream", json={"message": "hi"}).status_code == 401
        user = {"X-User": "ann"}
        assert client.post("/ai/api/stream", json={"message": "hi"}, headers=user).text == "hi"
        assert client.post("/ai/api/stream", json={"message": "look"}, headers=user).text == "seen"
        assert [turn["content"] for turn in seen[0].messages] == [module["OPENING_HOURS"], "look"]
        assert client.get("/ai/api/models", headers=user).get_json()["default"] == "parrot"
        module["questions"]["ann"] = 100
        refused = client.post("/ai/api/stream", json={"message": "hi"}, headers=user)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "3600")
        with module["app"].app_context():
            assert module["digest"]("bob") == "What is new?"
        close_background_loop()
    finally:
        answer_ended.disconnect(module["count"])
    assert sorted(module["reports"]) == [
        "ann asked hi: hi (complete)",
        "ann asked look: seen (complete)",
        "bob asked What is new?: What is new? (complete)",
    ]
    assert module["endings"] == ["project: done"] * 3


async def test_the_tools_of_the_guide_run_and_ask() -> None:
    module = project(python_of("tools.md"))
    ann = {"Accept": "application/x-ndjson", "X-User": "ann"}
    async with module["app"].test_app() as running:
        client = running.test_client()

        async def results(*messages: dict[str, Any], **options: Any) -> dict[str, str]:
            response = await client.post("/ai/api/stream", json={"messages": messages, **options}, headers=ann)
            records = [json.loads(line) for line in (await response.get_data(as_text=True)).splitlines()]
            assert records[-1]["type"] == "done", records
            return {record["name"]: record["content"] for record in records if record["type"] == "tool_result"}

        day = {"role": "user", "content": '{"order": 7}'}
        assert await results(day) == {"delivery_day": "Tuesday"}
        assert (await results({"role": "user", "content": '{"order": 1}'}))["delivery_day"].startswith("There is no")
        calls = [("cancel_order", {"order": 9, "refund": 40}), ("list_orders", {}), ("revenue", {"year": 2026})]
        turn = {
            "role": "assistant",
            "tool_calls": [
                {"id": name, "name": name, "arguments": json.dumps(arguments), "approved": True}
                for name, arguments in calls
            ],
        }
        found = await results(day, turn)
        assert found.keys() == {"cancel_order", "list_orders"}
        assert found["cancel_order"] == "Order 9 is cancelled, and 40 francs are paid back."
        assert module["ORDERS"] == {"ann": {7: "Tea, on its way"}}
        assert "delivery_day" not in await module["summary"]()


@pytest.mark.usefixtures("closed_loop")
def test_the_filters_of_the_guide_replace_text_and_end_answers() -> None:
    module = project(python_of("filter.md"))
    chat: Chat = module["chat"]

    @chat.model("leaky")
    async def leaky(request: ChatRequest) -> AsyncIterator[str]:
        for character in request.text:
            yield character

    client = module["app"].test_client()
    question = {"message": "the key is sk-a1b2c3d4, and more", "model": "leaky"}
    assert client.post("/ai/api/stream", json=question).text == "the key is [removed], and more"
    refused = client.post("/ai/api/chat", json=question | {"message": "it is Project Falcon"})
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (422, "confidential")
    assert refused.get_json()["error"]["message"] == "This answer was stopped."


@pytest.mark.usefixtures("closed_loop")
@pytest.mark.parametrize("index", [0, 1], ids=["sqlite3", "Flask-SQLAlchemy"])
def test_the_guide_saves_complete_and_truncated_answers(
    index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = block("save-answers.md", index=index).replace("sqlite:///project.db", f"sqlite:///{tmp_path}/answers.db")
    module = project(code)
    client = module["app"].test_client()
    with client.session_transaction() as login:
        login["user_id"] = "ann"
    records = {"Accept": "application/x-ndjson"}
    for model in ("mock", "fault-drop:2"):
        assert client.post("/ai/api/stream", json={"message": "count to 3", "model": model}, headers=records).text
        close_background_loop()
    with closing(sqlite3.connect("answers.db")) as db:
        rows = db.execute("SELECT user_id, question, text, ending FROM answer ORDER BY rowid").fetchall()
    assert rows == [("ann", "count to 3", "1 2 3", "done"), ("ann", "count to 3", "1 2", "upstream_error")]


async def test_models_in_python_and_of_the_table_are_fallbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-unused")
    app = project(python_of("own-model.md").replace("127.0.0.1:11434", "127.0.0.1:9"))["app"]
    status, records = await answer_to(app, message="hi")
    assert (status, records[1]["text"]) == (200, "No model can be reached at the moment.")
    async with app.test_app() as running:
        offer = await (await running.test_client().get("/ai/api/models")).get_json()
    assert (offer["default"], [model["id"] for model in offer["models"]]) == ("search", ["search", "fast", "local"])


def test_the_table_of_the_guide_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-unused")
    names: dict[str, Any] = {"app": Quart("project"), "Chat": Chat}
    exec(block("several-models.md"), names)
    assert isinstance(names["chat"], Chat)
