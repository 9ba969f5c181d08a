"""The blog with a chat: its pages in Flask's test client, and two users in Chromium."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.async_api import Browser, Page, expect

from examples.flask_blog.app import create_app
from tests.support.example_pictures import register, write
from tests.support.pages import ChatPage, opened
from tests.support.raw_upstreams import RawUpstream
from tests.support.serving import Server, Servers, eventually

MakeBlog = Callable[..., Flask]
PASSWORD = "a-password"


@pytest.fixture
def make_blog(tmp_path: Path) -> MakeBlog:
    """Return a function that makes the blog with a database of its own."""

    def make(**config: str) -> Flask:
        database = f"sqlite:///{tmp_path}/blog.db"
        return create_app(
            SECRET_KEY="a-secret", SQLALCHEMY_DATABASE_URI=database, CHAT_MOCK_TOKENS_PER_S=0, CHAT_RETRIES=0, **config
        )

    return make


def user_of(blog: Flask, name: str) -> FlaskClient:
    """Return a client that is logged in as a new user."""
    client = blog.test_client()
    assert client.post("/register", data={"name": name, "password": PASSWORD}).status_code == 302
    return client


def write_post(client: FlaskClient, title: str, text: str = "A text.") -> None:
    assert client.post("/write", data={"title": title, "text": text}).status_code == 302


def ask(client: FlaskClient, question: str) -> str:
    """Return the answer as far as it was sent."""
    response = client.post("/ai/api/stream", json={"message": question}, headers={"Accept": "application/x-ndjson"})
    assert response.status_code == 200
    return "".join(re.findall(r'"type":"delta","text":"([^"]*)"', response.text))


async def saved(client: FlaskClient, *texts: str) -> str:
    """Return the page with the answers, once it contains the texts. An answer is saved after its response."""
    page = ""

    def has_all() -> bool:
        nonlocal page
        page = client.get("/answers").text
        return all(text in page for text in texts)

    await eventually(has_all)
    return page


# -- accounts and posts


def test_a_visitor_reads_posts_and_has_no_chat(make_blog: MakeBlog) -> None:
    blog = make_blog()
    write_post(user_of(blog, "ada"), "About <tea>")
    visitor = blog.test_client()
    page = visitor.get("/").text
    assert "About &lt;tea&gt;" in page
    assert "quart-chat" not in page
    assert visitor.post("/ai/api/stream", json={"message": "hi"}).status_code == 401
    for path in ("/write", "/answers", "/edit/1"):
        assert visitor.get(path).headers["Location"].startswith("/login")


@pytest.mark.parametrize(
    ("name", "password", "message"),
    [
        ("ada", PASSWORD, "This name is in use. Choose another one."),
        (" ", PASSWORD, "A name has 1 to 40 characters."),
        ("a" * 41, PASSWORD, "A name has 1 to 40 characters."),
        ("bob", "1234567", "A password has at least 8 characters."),
    ],
)
def test_a_user_who_cannot_register_gets_the_reason(
    make_blog: MakeBlog, name: str, password: str, message: str
) -> None:
    blog = make_blog()
    user_of(blog, "ada")
    visitor = blog.test_client()
    assert message in visitor.post("/register", data={"name": name, "password": password}).text
    assert "Log out" not in visitor.get("/").text


def test_a_login_needs_the_password_and_a_logout_ends_it(make_blog: MakeBlog) -> None:
    blog = make_blog()
    user_of(blog, "ada")
    client = blog.test_client()
    refusal = client.post("/login", data={"name": "ada", "password": "another-one"}).text
    assert "This name and this password do not belong together." in refusal
    assert client.post("/login", data={"name": "ada", "password": PASSWORD}).status_code == 302
    assert "<quart-chat" in client.get("/").text
    client.post("/logout")
    assert "<quart-chat" not in client.get("/").text


def test_only_the_author_changes_a_post(make_blog: MakeBlog) -> None:
    blog = make_blog()
    ada, bob = user_of(blog, "ada"), user_of(blog, "bob")
    write_post(ada, "Draft")
    for path in ("/edit/1", "/delete/1"):
        assert bob.post(path, data={"title": "Mine", "text": "x"}).status_code == 403
    assert ada.post("/edit/1", data={"title": "Final", "text": "x"}).status_code == 302
    assert "Final" in bob.get("/").text
    assert "at most 120 characters" in ada.post("/edit/1", data={"title": "x" * 121, "text": "x"}).text
    assert ada.post("/delete/1").status_code == 302
    assert "Final" not in bob.get("/").text


def test_a_blog_without_a_secret_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="FLASK_SECRET_KEY"):
        create_app(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/blog.db")


# -- the chat


async def test_the_model_gets_the_posts_of_the_user_and_no_others(
    make_blog: MakeBlog, raw_upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-unused")
    monkeypatch.setenv("OPENAI_BASE_URL", raw_upstream.base_url)
    blog = make_blog(CHAT_MODEL="m")
    ada, bob = user_of(blog, "ada"), user_of(blog, "bob")
    write_post(ada, "Too long to fit", "x" * 8000)
    write_post(ada, "About tea", "Eighty degrees.")
    write_post(ada, "About cups", "Two of them.")
    write_post(bob, "A secret of bob")
    contexts = {}
    for name, client in {"ada": ada, "bob": bob}.items():
        tag = uuid.uuid4().hex
        assert ask(client, f"whole:1 {tag}") == "token "
        system, context, _ = (await raw_upstream.exchange(tag)).request.json["messages"]
        assert system["content"].startswith("You help the author")
        contexts[name] = context["content"]
    assert contexts["ada"].endswith("## About cups\n\nTwo of them.\n\n## About tea\n\nEighty degrees.\n\n")
    assert "Too long" not in contexts["ada"]
    assert re.findall("## (.*)", contexts["bob"]) == ["A secret of bob"]


async def test_two_users_never_see_each_others_answers(make_blog: MakeBlog) -> None:
    blog = make_blog()
    ada, bob = user_of(blog, "ada"), user_of(blog, "bob")
    assert ask(ada, "count to 3") == "1 2 3"
    assert ask(bob, "count to 4") == "1 2 3 4"
    of_ada, of_bob = await saved(ada, "count to 3", "1 2 3"), await saved(bob, "count to 4", "1 2 3 4")
    assert "count to 4" not in of_ada
    assert "count to 3" not in of_bob
    assert "not complete" not in of_ada


async def test_a_truncated_answer_is_saved_as_one(make_blog: MakeBlog) -> None:
    ada = user_of(make_blog(CHAT_MODEL="fault-drop:3"), "ada")
    assert ask(ada, "count to 9") == "1 2 3"
    await saved(ada, "count to 9", "1 2 3<", "not complete: upstream_error")


# -- in a browser


@pytest.fixture
def server(servers: Servers, tmp_path: Path) -> Server:
    """Return Flask's own server with a blog of its own."""
    models = {"mock": {"kind": "mock"}, "stalls": {"kind": "mock", "model": "fault-stall:3"}}
    settings = {
        "CHAT_MODELS": json.dumps(models),
        "CHAT_MOCK_TOKENS_PER_S": "0",
        "FLASK_SECRET_KEY": "a-secret",
        "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/blog.db",
    }
    return servers.start("flask", "examples.flask_blog.app", **settings)


async def answers_on(page: Page, *texts: str) -> None:
    """Reload the page with the answers until it shows the texts."""
    await page.get_by_role("link", name="Answers").click()
    articles = page.get_by_role("article")
    for text in texts:
        while not await articles.filter(has_text=text).count():
            await page.reload()


@pytest.mark.asyncio(loop_scope="module")
async def test_users_of_one_browser_have_posts_chats_and_answers_of_their_own(browser: Browser, server: Server) -> None:
    async with opened(browser) as chat:
        page = chat.page
        await page.goto(f"http://127.0.0.1:{server.port}/")
        await register(page, "ada")
        await write(page, "About tea", "Eighty degrees.")
        await chat.ask("count to 3")
        await expect(chat.answer()).to_contain_text("1 2 3")
        await stop_an_answer(chat)
        await answers_on(page, "count to 3", "client_disconnected")
        await page.get_by_role("button", name="Log out ada").click()

        await register(page, "bob")
        await expect(page.get_by_role("heading", name="About tea")).to_be_visible()
        await expect(chat.turns).to_have_count(0)
        await page.get_by_role("link", name="Answers").click()
        await expect(page.get_by_text("You have not asked anything yet.")).to_be_visible()


async def stop_an_answer(chat: ChatPage) -> None:
    await chat.choose("stalls")
    await chat.send("count to 9")
    await expect(chat.answer(1)).to_contain_text("1 2 3")
    await chat.button("Stop").click()
    await chat.ended()
