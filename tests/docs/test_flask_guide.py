"""The guide for Flask projects: its lines in an app as Flask's tutorial builds it, and its other code."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from quartapp.flask.loop import close_background_loop
from tests.support.documents import Block, blocks
from tests.support.serving import ROOT

GUIDE = ROOT / "docs" / "howto" / "flask.md"
NUMBERS = {13: "Thirteen", 14: "Fourteen", 15: "Fifteen"}
MODELS = {
    "mock": {"kind": "mock"},
    "broken": {"kind": "mock", "model": "fault-drop:2"},
    "stalled": {"kind": "mock", "model": "fault-stall:1"},
}
RECORDS = {"Accept": "application/x-ndjson"}

#: An app with the structure of Flaskr: a factory, a blueprint `auth`, `g.user`, `get_db()` and a schema.
FLASKR = {
    "__init__.py": """
        import os
        from flask import Flask, render_template

        def create_app(test_config=None):
            app = Flask(__name__, instance_relative_config=True)
            app.config.from_mapping(SECRET_KEY="dev", DATABASE=os.path.join(app.instance_path, "flaskr.sqlite"))
            app.config.from_mapping(test_config or {})
            from . import auth, db
            db.init_app(app)
            app.register_blueprint(auth.bp)
            app.add_url_rule("/", "index", lambda: render_template("blog/index.html"))
            # lines of the guide
            return app
    """,
    "db.py": """
        import sqlite3
        from flask import current_app, g

        def get_db():
            if "db" not in g:
                g.db = sqlite3.connect(current_app.config["DATABASE"], detect_types=sqlite3.PARSE_DECLTYPES)
                g.db.row_factory = sqlite3.Row
            return g.db

        def close_db(error=None):
            db = g.pop("db", None)
            if db is not None:
                db.close()

        def init_db():
            with current_app.open_resource("schema.sql") as schema:
                get_db().executescript(schema.read().decode())

        def init_app(app):
            app.teardown_appcontext(close_db)
            app.cli.command("init-db")(init_db)
    """,
    "auth.py": """
        from flask import Blueprint, abort, g, redirect, request, session, url_for
        from werkzeug.security import check_password_hash, generate_password_hash
        from .db import get_db

        bp = Blueprint("auth", __name__, url_prefix="/auth")

        @bp.before_app_request
        def load_logged_in_user():
            user_id = session.get("user_id")
            if user_id is None:
                g.user = None
            else:
                g.user = get_db().execute("SELECT * FROM user WHERE id = ?", (user_id,)).fetchone()

        @bp.post("/register")
        def register():
            row = (request.form["username"], generate_password_hash(request.form["password"]))
            get_db().execute("INSERT INTO user (username, password) VALUES (?, ?)", row)
            get_db().commit()
            return redirect(url_for("index"))

        @bp.post("/login")
        def login():
            found = get_db().execute("SELECT * FROM user WHERE username = ?", (request.form["username"],)).fetchone()
            if found is None or not check_password_hash(found["password"], request.form["password"]):
                abort(403)
            session.clear()
            session["user_id"] = found["id"]
            return redirect(url_for("index"))
    """,
    "schema.sql": """
        CREATE TABLE user (id INTEGER PRIMARY KEY AUTOINCREMENT, username TEXT UNIQUE NOT NULL, password TEXT NOT NULL);
    """,
    "templates/blog/index.html": "<!doctype html><title>Flaskr</title>",
}


def dedented(text: str) -> str:
    return re.sub(r"^ {8}", "", text, flags=re.MULTILINE)


def lines_of_the_guide() -> dict[str, str]:
    """Return the code of the section, by the file of the app that it belongs to."""
    section = [block for block in blocks(GUIDE) if "flaskr/" in block.before]
    return {
        name: block.text for block in section for name in FLASKR | {"chat.py": ""} if f"flaskr/{name}" in block.before
    }


@pytest.fixture
def flaskr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The app with the lines of the guide, its users ann and bob, and an empty table of answers."""
    files = {name: dedented(text) for name, text in FLASKR.items()}
    for name, text in lines_of_the_guide().items():
        if name == "__init__.py":
            files[name] = files[name].replace(
                "    # lines of the guide\n", re.sub("^", "    ", text, flags=re.MULTILINE).rstrip() + "\n"
            )
        else:
            files[name] = files.get(name, "") + text
    for name, text in files.items():
        path = tmp_path / "flaskr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    create_app = importlib.import_module("flaskr").create_app
    app = create_app({"TESTING": True, "DATABASE": str(tmp_path / "db"), "CHAT_MODELS": MODELS})
    assert "init-db" in app.cli.commands
    app.test_cli_runner().invoke(args=["init-db"])
    yield app
    close_background_loop()
    for name in [name for name in sys.modules if name.partition(".")[0] == "flaskr"]:
        del sys.modules[name]


def logged_in(app: Flask, name: str) -> FlaskClient:
    client = app.test_client()
    user = {"username": name, "password": "a-password"}
    assert client.post("/auth/register", data=user).status_code == 302
    assert client.post("/auth/login", data=user).status_code == 302
    return client


def saved(app: Flask) -> list[tuple[Any, ...]]:
    """Return the rows of the answers, after the hooks of all answers have ended."""
    close_background_loop()
    with app.app_context():
        get_db = importlib.import_module("flaskr.db").get_db
        return [tuple(row) for row in get_db().execute("SELECT * FROM answer")]


def test_the_section_has_at_most_fifteen_lines() -> None:
    guide = lines_of_the_guide()
    assert list(guide) == ["chat.py", "__init__.py", "schema.sql", "templates/blog/index.html"]
    lines = [line for text in guide.values() for line in text.splitlines() if line.strip()]
    assert len(lines) <= 15
    assert f"{NUMBERS[len(lines)]} lines put the chat into it" in GUIDE.read_text("utf-8")


def test_only_users_of_the_app_get_answers(flaskr: Flask) -> None:
    question = {"message": "count to 3"}
    anonymous = flaskr.test_client()
    assert anonymous.post("/ai/api/stream", json=question).status_code == 401
    response = logged_in(flaskr, "ann").post("/ai/api/stream", json=question)
    assert (response.status_code, response.text) == (200, "1 2 3")
    assert saved(flaskr) == [(1, "count to 3", "1 2 3", "done")]


def test_a_truncated_answer_has_a_row_with_the_text_so_far(flaskr: Flask) -> None:
    logged_in(flaskr, "ann")
    client = logged_in(flaskr, "bob")
    question = {"message": "count to 3", "model": "broken"}
    response = client.post("/ai/api/stream", json=question, headers=RECORDS)
    assert '"type":"error"' in response.text
    assert saved(flaskr) == [(2, "count to 3", "1 2", "upstream_error")]


def test_an_abandoned_answer_has_a_row_with_the_text_so_far(flaskr: Flask) -> None:
    question = {"message": "count to 3", "model": "stalled"}
    response = logged_in(flaskr, "ann").post("/ai/api/stream", json=question)
    assert next(iter(response.response)) == b"1"
    response.close()
    assert saved(flaskr) == [(1, "count to 3", "1", "client_disconnected")]


def test_the_page_shows_the_chat_to_users_only(flaskr: Flask) -> None:
    assert "<quart-chat" not in flaskr.test_client().get("/").text
    page = logged_in(flaskr, "ann").get("/").text
    assert re.search(r'<quart-chat src="/ai" user="[0-9a-f]{16}"></quart-chat>', page)


# -- the other code of the guide


def project() -> dict[str, Any]:
    """Return the names of the code outside of the section, run in one module."""
    names: dict[str, Any] = {"__name__": "project"}
    for block in blocks(GUIDE):
        if block.language == "python" and not is_of_the_section(block):
            exec(block.text, names)
    return names


def is_of_the_section(block: Block) -> bool:
    return "flaskr/" in block.before


def test_the_views_of_the_guide_get_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_MOCK_TOKENS_PER_S", "0")
    client = project()["app"].test_client()
    try:
        assert client.post("/summary").text
        assert "mock" in client.get("/models").get_json()
        assert client.post("/ai/api/stream", json={"message": "count to 3"}).text == "1 2 3"
        assert client.get("/local/api/models").get_json()["default"] == "llama3.2"
    finally:
        close_background_loop()
