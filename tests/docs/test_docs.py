"""The pages match the code: names, files and targets are checked, and every example that can run is run."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from flask import Flask, session

from bench.readme import FIGURES, figures, with_figures
from quartapp import Chat, create_app
from quartapp.__main__ import main
from quartapp.core import events
from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.protocols.native.formats import ACCEPTED, WHOLE
from quartapp.settings.settings import Settings
from tests.support.serving import Server, Servers, eventually

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PROTOCOL = ROOT / "docs" / "reference" / "protocol.md"
PROTECT = ROOT / "docs" / "howto" / "protect.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]  # Sphinx copies none into docs/_build
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of `page` in `language`."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [block for of, block in fenced if of == language]


# -- names


def routes() -> list[str]:
    """Return the routes as the pages write them, `{prefix}/v1/models/{name}`, without the catch-all ones."""
    rules = {rule.rule for rule in create_app().url_map.iter_rules() if "<path:path>" not in rule.rule}
    return sorted("{prefix}" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule) for rule in rules)


def test_the_protocol_lists_every_route() -> None:
    assert "{prefix}/api/stream" in routes()
    for route in routes():
        assert re.search(re.escape(route) + "[`?]", PROTOCOL.read_text(encoding="utf-8")), f"the protocol lacks {route}"


def test_the_readme_lists_every_route_that_answers_a_question() -> None:
    for route in ("{prefix}/api/stream", "{prefix}/api/chat", "{prefix}/v1", "{prefix}/api/ui"):
        assert route in text_of("README.md"), f"the README lacks {route}"


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 150


def test_no_page_names_an_unknown_route() -> None:
    named = {
        route for page in PAGES for route in re.findall(r"\{prefix\}(/[\w/{}.]*)", page.read_text(encoding="utf-8"))
    }
    there = [route.removeprefix("{prefix}") + "/" for route in routes()]
    assert [name for name in named if not any(route.startswith(name.rstrip("/") + "/") for route in there)] == []


@EACH_PAGE
def test_no_page_names_an_unknown_setting(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for changes in blocks(page, "diff"):  # lines of our modules, which test_contributing compares with them
        text = text.replace(changes, "")
    named = set(re.findall(r"\bCHAT_[A-Z_]+\b", text))
    assert named <= Settings.names().keys()


def test_the_protocol_has_the_table_of_errors() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (.+) \|$", PROTOCOL.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(code, str(kind.status), kind.message) for code, kind in KINDS.items()]


def test_the_protocol_has_the_formats_in_their_order() -> None:
    table = PROTOCOL.read_text(encoding="utf-8").partition("| media type |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\S+/\S+)` \|", table, re.MULTILINE) == [*ACCEPTED, WHOLE]


def test_the_protocol_has_the_records_with_their_fields() -> None:
    table = PROTOCOL.read_text(encoding="utf-8").partition("| type | fields | |")[2].partition("\n\n")[0]
    documented = {
        row[0]: re.findall(r"`(\w+)`", row[1]) for row in re.findall(r"^\| `(\w+)` \| (.*?) ?\|", table, re.MULTILINE)
    }
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Record)]
    tagged = [kind for kind in kinds if kind is not events.Record]
    assert documented == {str(kind.__struct_config__.tag): list(kind.__struct_fields__) for kind in tagged}


def test_the_protocols_records_are_records() -> None:
    kinds = events.Start | events.Delta | events.Ping | events.Done | events.ToolCall | events.Step | events.ToolResult
    section = PROTOCOL.read_text(encoding="utf-8").partition("### Records")[2]
    lines = re.findall(r'^\{"type".*\}$', section, re.MULTILINE)
    assert len(lines) == 12
    for line in lines:
        assert msgspec.json.encode(msgspec.json.decode(line, type=kinds)).decode() == line


def test_the_page_on_the_command_line_has_each_command_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    page = text_of("docs/reference/command-line.md")
    for command in ([], ["run"], ["mock"]):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
    usage = capsys.readouterr().out
    commands = re.findall(r"^\| `quartapp (\w+)`", page, re.MULTILINE)
    assert re.findall(r"^    (\w+) ", usage, re.MULTILINE) == commands
    assert set(re.findall(r"--\w+", usage)) == set(re.findall(r"--\w+", page))


# -- files


def test_readme_and_contributing_name_the_targets_of_make_and_no_others() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", text_of("Makefile"), re.MULTILINE))
    text = text_of("README.md") + text_of("CONTRIBUTING.md")
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) == targets
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text_of("Makefile"), re.MULTILINE)
    assert set(phony.split()) == targets


def test_the_readmes_figures_are_those_of_the_page() -> None:
    readme, page = text_of("README.md"), text_of("docs/explanation/performance.md")
    assert FIGURES.findall(readme) == [figures(page)]
    assert with_figures(with_figures(readme, page.replace("1", "7")), page) == readme


def links_of(page: Path) -> list[str]:
    """Return the relative links of `page`, without fragments."""
    return [link for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")) if "://" not in link]


@EACH_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in links_of(page) if not (page.parent / link).exists()] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, new = set[Path](), {README}
    while new:
        reached |= new
        links = ((page.parent / link).resolve() for page in new for link in links_of(page))
        new = {link for link in links if link in PAGES} - reached
    assert set(PAGES) - reached == set()


# -- code


@EACH_PAGE
def test_python_compiles_and_json_is_json(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")
    for block in blocks(page, "json"):
        json.loads(block)


def test_the_projects_of_the_pages_have_the_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALICE_TOKEN", "a-token")
    for block in [*blocks(README, "python"), *blocks(PROTECT, "python")]:
        project: dict[str, Any] = {
            "__name__": "project",
            "app": Flask("project"),
        }  # the README shows lines for such an app
        exec(block, project)
        assert "/ai/api/stream" in [rule.rule for rule in project["app"].url_map.iter_rules()]


def test_the_readmes_login_and_hook_work_in_its_project() -> None:
    (block,) = blocks(README, "py")
    chat = Chat(Flask("project"))
    project: dict[str, Any] = {"chat": chat, "session": session}
    exec(block, project)
    assert callable(project["save"])
    report = text_of("docs/reference/python.md") + text_of("docs/howto/save-answers.md")
    assert all(name in report for name in ("report.request.text", "report.text", "report.is_complete"))


def test_the_project_with_a_token_is_the_example() -> None:
    (block,) = blocks(PROTECT, "python")
    assert block in text_of("examples/quart_project/app.py")


def test_the_readmes_projects_have_six_and_three_lines() -> None:
    quart, flask = ([line for line in block.splitlines() if line] for block in blocks(README, "python"))
    assert len(quart) <= 6
    assert len(flask) <= 3


def test_the_script_for_fetch_is_the_examples() -> None:
    (block,) = [block for block in blocks(PROTOCOL, "js") if "onText(value)" in block]
    assert block in text_of("examples/page.html")


def curls() -> list[list[str]]:
    commands = "".join(blocks(README, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(command) for command in commands if command.startswith("curl ")]


@pytest.fixture
def chat(servers: Servers) -> Server:
    return servers.get("quartapp", CHAT_MOCK_TOKENS_PER_S="0")


@pytest.mark.parametrize("command", curls(), ids=lambda command: f"curl {len(command)}")
def test_curl_gets_the_output_in_the_readme(command: list[str], needs: Callable[[str], str], chat: Server) -> None:
    needs("curl")
    local = [word.replace("127.0.0.1:8000", f"127.0.0.1:{chat.port}") for word in command]
    assert local != command
    done = subprocess.run([*local, "--fail", "--silent"], capture_output=True, text=True, timeout=30, check=True)
    if "Accept: application/x-ndjson" in command:
        (shown,) = [block for block in blocks(README, "") if block.startswith('{"type":"start"')]
        assert re.sub('"id":"[^"]+"', "", done.stdout) == re.sub('"id":"[^"]+"', "", shown)
    else:
        assert done.stdout == " ".join(map(str, range(1, 21)))


def test_the_official_client_runs_the_example_of_the_protocol(chat: Server, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks(PROTOCOL, "python")
    names: dict[str, Any] = {}
    exec(block.replace("127.0.0.1:8000", f"127.0.0.1:{chat.port}"), names)
    names["client"].close()
    assert capsys.readouterr().out == "1 2 3"


# -- the proxy


@contextmanager
def nginx(program: str, folder: Path, page: str, app: Server) -> Iterator[str]:
    """Run an nginx with the location that `page` shows, in front of `app`, and return its base URL."""
    (location,) = blocks(ROOT / "docs" / "howto" / page, "nginx")
    local = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{app.port}", location)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX % (port, local))
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(configuration), "-e", "stderr"])
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    assert process.wait(10) == 0


@pytest.fixture
def proxied(servers: Servers, needs: Callable[[str], str], tmp_path: Path) -> Iterator[str]:
    """Run the nginx of the page on proxies, in front of the chat below /ai, and return its base URL."""
    app = servers.get("hypercorn", "flask_page:asgi", CHAT_MOCK_TOKENS_PER_S="0")
    with nginx(needs("nginx"), tmp_path, "proxy.md", app) as address:
        yield address


NGINX = textwrap.dedent("""\
    daemon off;
    pid nginx.pid;
    error_log stderr;
    events {}
    http {
        access_log off;
        client_body_temp_path temp; proxy_temp_path temp;
        fastcgi_temp_path temp; scgi_temp_path temp; uwsgi_temp_path temp;
        server { listen 127.0.0.1:%d; %s }
    }
""")


async def test_the_proxy_passes_on_complete_and_aborted_answers_without_delay(proxied: str) -> None:
    await eventually(lambda: is_listening(proxied))
    async with aiohttp.ClientSession(proxied, timeout=aiohttp.ClientTimeout(30)) as client:
        async with client.post("/ai/api/stream", json={"message": "count to 20"}) as complete:
            assert await complete.text() == " ".join(map(str, range(1, 21)))
        async with client.post("/ai/api/stream", json={"message": "count", "model": "fault-drop:3"}) as broken:
            with pytest.raises(aiohttp.ClientPayloadError):
                await broken.text()
        async with client.post("/ai/api/stream", json={"message": "count", "model": "fault-stall:3"}) as stalled:
            assert await stalled.content.readexactly(5) == b"1 2 3"


async def test_the_proxy_of_the_page_on_ndjson_gives_the_chat_a_prefix(
    servers: Servers, needs: Callable[[str], str], tmp_path: Path
) -> None:
    chat = servers.get("quartapp", CHAT_MOCK_TOKENS_PER_S="0")
    with nginx(needs("nginx"), tmp_path, "coming-from/fastapi-ndjson.md", chat) as address:
        await eventually(lambda: is_listening(address))
        async with aiohttp.ClientSession(address) as client:
            async with client.get("/ai/") as page:
                assert page.status == 200
            async with client.post("/ai/api/stream", json={"message": "count to 3"}) as answer:
                assert await answer.text() == "1 2 3"


def is_listening(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0
