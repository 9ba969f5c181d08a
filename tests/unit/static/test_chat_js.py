"""The JavaScript module: its size, its types, the vectors in any pieces, and Node on good and bad connections."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from quart import Quart, render_template_string

from quartapp import chat_blueprint
from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.settings.settings import Settings
from tests.support import vectors
from tests.support.conformance import chat_at
from tests.support.loopback import Answer, Exchange, Loopback, head, reply
from tests.support.proxy import Proxy, Way, ends_after, falls_silent_after, in_slices, late, resets_after
from tests.support.sampling import SOAK
from tests.support.serving import ROOT, Server, Servers, eventually

STATIC = ROOT / "quartapp" / "static"
NODE = ROOT / "tests" / "node"
SOURCE = STATIC / "chat.js"
PAGE = ROOT / "docs" / "reference" / "javascript.md"

MAX_BYTES = 2048

# The fast run splits a vector in fewer places. No record and no character is so long that none is split.
EVERY_SO_MANY_BYTES = 7

COUNT = "1 2 3 4 5"
USAGE = {"input_tokens": 6, "output_tokens": 5, "total_tokens": 11, "cached_input_tokens": 0, "reasoning_tokens": 0}
DONE = {"type": "done", "finish_reason": "stop", "usage": USAGE}
NDJSON = {"Content-Type": "application/x-ndjson"}

Result = Mapping[str, Any]
Run = Callable[..., Awaitable[list[Result]]]


@pytest.fixture(scope="session")
def node(needs: Callable[[str], str]) -> Callable[..., str]:
    """Return the output of `node` in `tests/node`. Any output on stderr fails the test."""
    program = needs("node")

    def run(*arguments: str) -> str:
        done = subprocess.run([program, *arguments], cwd=NODE, capture_output=True, text=True, timeout=55, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


# -- the file


def options_of(text: str) -> dict[str, str]:
    """Return the options of the module with their defaults."""
    taken = re.findall(r"const \{ ([^}]*) \} = options;", text)
    pairs = [field.partition(" = ") for fields in taken for field in re.split(r", (?=\w+(?: =|,|$))", fields)]
    return {name: default for name, _, default in pairs}


def test_it_is_small() -> None:
    assert len(gzip.compress(SOURCE.read_bytes(), 9, mtime=0)) <= MAX_BYTES


def test_it_needs_no_other_file_and_no_page() -> None:
    source = SOURCE.read_text(encoding="utf-8")
    code = re.sub(r"//.*|/\*.*?\*/", "", source)
    assert not re.search(r"^import|\bimport\(|\brequire\(|\bdocument\b|\bwindow\b|\bself\b", code, re.MULTILINE)
    assert "https://" not in source


@pytest.mark.parametrize(
    "name",
    ["AbortSignal.any", "AbortSignal.timeout", "throwIfAborted", "TextDecoderStream", "withResolvers", "asyncIterator"],
)
def test_it_uses_nothing_that_a_browser_of_2021_lacks(name: str) -> None:
    assert name not in SOURCE.read_text(encoding="utf-8")


def test_its_types_its_page_and_itself_have_the_same_options_and_defaults() -> None:
    written = options_of(SOURCE.read_text(encoding="utf-8"))
    declared = (STATIC / "chat.d.ts").read_text(encoding="utf-8")
    interface = declared.partition("interface Options {")[2].partition("\n}")[0]
    assert sorted(re.findall(r"^  (\w+)\?:", interface, re.MULTILINE)) == sorted(written)
    documented = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert written.keys() <= documented.keys()
    defaults = {"retries": "2", "maxRetryAfterSeconds": "10", "idleSeconds": "45", "maxLineChars": "2 ** 23"}
    assert {name: default for name, default in written.items() if name in defaults} == defaults
    for name, default in (defaults | {"maxLineChars": "8,388,608"}).items():
        assert documented[name] == default
        assert re.search(rf"Default {default}[.;][^/]*\*/\n  {name}\?:", interface)


def test_its_error_has_the_fields_in_its_types_and_its_page() -> None:
    written = {*re.findall(r"this\.(\w+) =", SOURCE.read_text(encoding="utf-8")), "message", "cause"} - {"name"}
    declared = (STATIC / "chat.d.ts").read_text(encoding="utf-8").partition("class ChatError")[2].partition("\n}")[0]
    assert {*re.findall(r"^  (\w+)\??: ", declared, re.MULTILINE), "message"} == written
    section = PAGE.read_text(encoding="utf-8").partition("## Errors")[2].partition("| code | |")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == written


def test_its_own_codes_are_on_its_page_and_in_its_types() -> None:
    source = SOURCE.read_text(encoding="utf-8")
    own = re.findall(r"^  (\w+): \"", source.partition("MESSAGES = {")[2].partition("}")[0], re.MULTILINE)
    section = PAGE.read_text(encoding="utf-8").partition("| code | |")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == own
    declared = (STATIC / "chat.d.ts").read_text(encoding="utf-8")
    assert "code: " + " | ".join(f'"{code}"' for code in own) + " | (string & {});" in declared
    assert not KINDS.keys() & set(own)


def test_it_waits_longer_than_a_server_is_silent() -> None:
    idle_s = float(options_of(SOURCE.read_text(encoding="utf-8"))["idleSeconds"])
    settings = Settings()
    assert idle_s > 2 * settings.keep_alive_s
    assert idle_s > settings.status_timeout_s + settings.keep_alive_s


@SOAK
def test_it_runs_in_its_environments_and_typescript_agrees(node: Callable[..., str]) -> None:
    if not (NODE / "node_modules").is_dir():
        pytest.fail("the npm packages are not installed: make setup")
    complaints = json.loads(node("chat_types.mjs"))
    assert complaints == {"sample": [], "sampleExactly": [], "youngNames": [], "youngSyntax": False}


def test_it_passes_its_own_tests(node: Callable[..., str]) -> None:
    output = node("--test", "--test-reporter=tap", "chat.test.mjs")
    counts = {name: int(count) for name, count in re.findall(r"^# (\w+) (\d+)$", output, re.MULTILINE)}
    assert counts["pass"] > 80
    assert counts["pass"] == counts["tests"]


# -- the page


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


async def test_a_template_of_a_quart_project_finds_it() -> None:
    app = Quart("host", static_folder=None)
    app.register_blueprint(chat_blueprint(), url_prefix="/ai")
    async with app.test_request_context("/"):
        page = await render_template_string(blocks("html")[-1])
    assert 'import { ask } from "/ai/static/chat.js";' in page


def test_the_pages_program_for_node_runs(node: Callable[..., str], chat: Server, tmp_path: Path) -> None:
    (tmp_path / "chat.mjs").write_bytes(SOURCE.read_bytes())
    program = tmp_path / "main.mjs"
    program.write_text(blocks("js")[-1].replace("127.0.0.1:8000", f"127.0.0.1:{chat.port}"), encoding="utf-8")
    assert node(str(program)) == "1 2 3"


# -- the vectors


@pytest.fixture(scope="session")
def vector_results(node: Callable[..., str]) -> Callable[[str, int], Result]:
    @cache
    def run(step: int) -> dict[str, Result]:
        lines = map(json.loads, node("chat_vectors.mjs", str(step)).splitlines())
        return {line.pop("name"): line for line in lines}

    return lambda name, step: run(step)[name]


@pytest.mark.parametrize("step", [EVERY_SO_MANY_BYTES, pytest.param(1, marks=SOAK)])
@pytest.mark.parametrize("case", vectors.load("ndjson"), ids=lambda case: case.name)
def test_it_reads_a_vector_however_it_is_split_and_takes_no_part_for_complete(
    case: vectors.Case, step: int, vector_results: Callable[[str, int], Result]
) -> None:
    right = {"bytes": len(case.data), "right": True, "text": True, "cuts": [], "parts": []}
    assert vector_results(case.name, step) == right


# -- Node and real servers


@pytest.fixture
def run_jobs(needs: Callable[[str], str]) -> Run:
    """Return a function that runs jobs in Node, all at once, and returns their results."""
    program = needs("node")

    async def run(*jobs: Mapping[str, Any]) -> list[Result]:
        process = await asyncio.create_subprocess_exec(program, "chat_jobs.mjs", cwd=NODE, stdin=PIPE, stdout=PIPE)
        output, _ = await process.communicate("".join(json.dumps(job) + "\n" for job in jobs).encode())
        assert process.returncode == 0
        return [json.loads(line) for line in output.splitlines()]

    return run


@pytest.fixture(scope="session")
def chat(servers: Servers) -> Server:
    return servers.get("quartapp", CHAT_MOCK_TOKENS_PER_S="0")


def job(origin: str, model: str = "mock", **more: Any) -> dict[str, Any]:
    more = {"question": "count to 5", **more}
    return {"url": f"{origin}/api/stream", "body": {"model": model}, **more}


def origin(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def tagged(tag: str) -> dict[str, Any]:
    """Return the option by which the server's log identifies a job."""
    return {"headers": {"X-Request-ID": tag}}


def text(result: Result) -> str:
    return "".join(result["yielded"])


async def test_an_answer_is_read_as_text_and_as_records(run_jobs: Run, chat: Server) -> None:
    as_text, as_records = await run_jobs(
        job(origin(chat), **tagged("js-text")), job(origin(chat), each="records", **tagged("js-records"))
    )
    assert (text(as_text), as_text["returned"]) == (COUNT, DONE)
    first, *deltas, last = as_records["yielded"]
    assert (first["type"], first["model"], last) == ("start", "mock", DONE)
    assert "".join(delta["text"] for delta in deltas) == COUNT
    for tag in ("js-text", "js-records"):
        assert await endings(chat, tag, 1) == ["done"]


async def endings(server: Server, tag: str, count: int) -> list[str]:
    """Return the endings of the job's answers in the log, once there are `count`."""
    await eventually(lambda: len(server.answer_lines(client_id=tag)) >= count)
    return [line["ending"] for line in server.answer_lines(client_id=tag)]


COMPLETE = {
    "mock-echo": "one\ntwo\r\nthree\u2028 日本語 👩‍👩‍👧",
    "mock-reasoning": "one",
    "mock-refusal": "one",
    "mock-tool-call": "one",
    "fault-split-utf8": "one",
    "fault-one-byte": "one",
    "fault-lone-surrogate": "one",
    "fault-flood": "one",
    "fault-drop-after-finish": "one",
    "fault-pauses:0.01": "count to 20",
}


async def test_odd_answers_are_complete(run_jobs: Run, chat: Server) -> None:
    jobs = [
        job(origin(chat), model, question=[{"role": "user", "content": prompt}]) for model, prompt in COMPLETE.items()
    ]
    results = dict(zip(COMPLETE, await run_jobs(*jobs), strict=True))
    assert {model: each.get("error") for model, each in results.items()} == dict.fromkeys(COMPLETE)
    assert text(results["mock-echo"]) == COMPLETE["mock-echo"]
    assert text(results["mock-refusal"]).startswith("I'm sorry")
    assert "Grüße aus Köln" in text(results["fault-split-utf8"])


#: What each fault of a model comes to: the code, the status, and the text before it.
FAULTS: Mapping[str, tuple[str, int, str]] = {
    "fault-error-object": ("upstream_error", 200, "1 2 3"),
    "fault-drop": ("upstream_error", 200, "1 2 3"),
    "fault-garbage": ("upstream_error", 200, "1 2 3"),
    "fault-no-finish": ("upstream_truncated", 200, "1 2 3"),
    "fault-no-finish-done": ("upstream_truncated", 200, "1 2 3"),
    "fault-error-object:0": ("upstream_error", 502, ""),
    "fault-status:500": ("upstream_error", 502, ""),
    "fault-status:401": ("upstream_refused", 400, ""),
    "fault-status:429": ("upstream_busy", 429, ""),
    "fault-status:503": ("upstream_overloaded", 503, ""),
    "fault-html:502": ("upstream_error", 502, ""),
    "fault-context-too-long": ("context_too_long", 400, ""),
    "fault-content-filtered": ("content_filtered", 400, ""),
    "no-such-model": ("model_not_found", 404, ""),
}
MOCK = [model for model in FAULTS if model.startswith("fault")]


async def test_each_fault_is_reported_by_its_code_and_not_retried(
    run_jobs: Run, servers: Servers, upstream: str
) -> None:
    """A server may request a longer wait than the caller allows."""
    at = {model: chat_at(servers, upstream, model) for model in FAULTS}
    tags = {model: f"js-fault-{number}" for number, model in enumerate(FAULTS)}
    jobs = [job(origin(at[model]), model, maxRetryAfterSeconds=1, **tagged(tags[model])) for model in FAULTS]
    for (model, (code, status, partial)), result in zip(FAULTS.items(), await run_jobs(*jobs), strict=True):
        error = result["error"]
        assert (error["name"], error["code"], error["status"]) == ("ChatError", code, status), model
        assert (error["message"], error["text"], text(result)) == (KINDS[code].message, partial, partial)
        assert error.get("retryAfterSeconds") == (7 if status in (429, 503) else None)
        assert re.fullmatch("[0-9a-f]{32}", error["id"])
        assert model not in MOCK or await endings(at[model], tags[model], 1) == [code]


async def test_a_refusal_names_the_field(run_jobs: Run, chat: Server) -> None:
    wrong = job(origin(chat)) | {"question": [{"role": "robot", "content": "a"}]}
    lost = job(origin(chat)) | {"url": f"{origin(chat)}/api/nowhere"}
    (refused, not_found) = await run_jobs(wrong, lost)
    assert (refused["error"]["code"], refused["error"]["path"]) == ("invalid_request", "messages.0.role")
    assert (not_found["error"]["code"], not_found["error"]["status"]) == ("not_found", 404)


@pytest.mark.parametrize("way", ["break", "abort"])
async def test_a_disconnect_ends_the_answer(way: str, run_jobs: Run, chat: Server) -> None:
    disconnect = {"after": "3", "way": way}
    (left,) = await run_jobs(job(origin(chat), "fault-stall:3", leave=disconnect, **tagged(f"js-{way}")))
    assert text(left) == "1 2 3"
    assert left.get("error", {}).get("name") == ("AbortError" if way == "abort" else None)
    assert await endings(chat, f"js-{way}", 1) == ["client_disconnected"]


# -- Node and other servers


async def busy_once(exchange: Exchange, count: list[int]) -> None:
    """Send 503 with `Retry-After: 0` to the first request, and an answer to the next."""
    count.append(1)
    body = json.dumps(DONE).encode() + b"\n" if len(count) > 1 else b'{"error": {"code": "overloaded"}}'
    status, headers = (200, NDJSON) if len(count) > 1 else (503, {"Retry-After": "0"})
    await exchange.send(head(status, {**headers, "Content-Length": str(len(body))}) + body)


async def test_a_busy_server_is_retried(run_jobs: Run) -> None:
    count: list[int] = []
    async with Loopback(lambda exchange: busy_once(exchange, count)) as server:
        (result,) = await run_jobs(job(server.origin))
        assert result == {"yielded": [], "returned": DONE}
        assert [request.json for request in server.requests] == [{"model": "mock", "message": "count to 5"}] * 2


def closing(data: bytes, headers: Mapping[str, str] = NDJSON) -> Answer:
    """Send an answer that ends with its connection, as over HTTP/1.0."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(head(200, {**headers, "Connection": "close"}) + data)
        exchange.close()

    return answer


DELTA = b'{"type":"delta","text":"1 2"}\n'
STRANGERS: Mapping[str, tuple[Answer, str, int, str]] = {
    "ends cleanly and too early": (closing(DELTA), "truncated", 200, "1 2"),
    "ends within a record": (closing(DELTA + DELTA[:9]), "truncated", 200, "1 2"),
    "says nothing at all": (closing(b""), "truncated", 200, ""),
    "asks to sign in": (reply(200, b"<html>\n", {"Content-Type": "text/html"}), "bad_answer", 200, ""),
    "is a broken gateway": (reply(502, b"<html>\n", {"Content-Type": "text/html"}), "bad_answer", 502, ""),
    "has an empty error": (reply(500, b"", {}), "bad_answer", 500, ""),
    "sends no line ends": (closing(b"x" * 10_000_000), "bad_answer", 200, ""),
}


@pytest.mark.parametrize("name", STRANGERS)
async def test_a_response_of_another_server_is_an_error(name: str, run_jobs: Run) -> None:
    answer, code, status, partial = STRANGERS[name]
    async with Loopback(answer) as server:
        (result,) = await run_jobs(job(server.origin))
        assert len(server.requests) == 1
    error = result["error"]
    assert (error["code"], error["status"], error["text"], text(result)) == (code, status, partial, partial)


async def test_an_absent_server_is_a_network_error(run_jobs: Run) -> None:
    async with Loopback(reply()) as server:
        nowhere = server.origin
    (result,) = await run_jobs(job(nowhere))
    assert (result["error"]["code"], result["error"].get("status")) == ("network", None)


# -- Node through bad lines


async def through(run_jobs: Run, chat: Server, *ways: Way, **more: Any) -> list[Result]:
    """Return the result of one job through a proxy for each way. Each job sends one request."""
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(Proxy(chat.port, way)) for way in ways]
        results = await run_jobs(*(job(proxy.origin, **more) for proxy in proxies))
        assert [proxy.posts for proxy in proxies] == [1] * len(ways)
    return results


PROMPT = "日本語 👩‍👩‍👧 é"


async def test_an_answer_in_pieces_of_any_size_is_the_same(run_jobs: Run, chat: Server) -> None:
    ways = [*map(in_slices, range(12)), in_slices(0, most_bytes=1), late(0.05)]
    results = await through(run_jobs, chat, *ways, model="mock-echo", question=PROMPT)
    assert [text(each) for each in results] == [PROMPT] * len(ways)
    assert {each["returned"]["type"] for each in results} == {"done"}


CUT_AT = [*range(0, 800, 40), 10_000]


@pytest.mark.parametrize("cut_after", [ends_after, resets_after])
async def test_a_truncated_answer_is_never_taken_for_a_complete_one(
    cut_after: Callable[[int], Way], run_jobs: Run, chat: Server
) -> None:
    results = await through(run_jobs, chat, *map(cut_after, CUT_AT))
    outcomes = [each["error"]["code"] if "error" in each else "whole" for each in results]
    assert outcomes[0] == "network"
    assert outcomes[-1] == "whole"
    for each, outcome in zip(results, outcomes, strict=True):
        if outcome == "whole":
            assert (text(each), each["returned"]) == (COUNT, DONE)
        else:
            assert outcome == "network"
            assert COUNT.startswith(text(each))
            assert each["error"]["text"] == text(each)


async def test_a_silent_connection_times_out_and_ends_the_answer(run_jobs: Run, chat: Server) -> None:
    tags = ["js-silent-0", "js-silent-400"]
    for tag, count in zip(tags, (0, 400), strict=True):
        (result,) = await through(
            run_jobs, chat, falls_silent_after(count), model="fault-stall:4", idleSeconds=0.5, **tagged(tag)
        )
        assert result["error"]["code"] == "idle"
        assert COUNT.startswith(result["error"]["text"])
        assert await endings(chat, tag, 1) == ["client_disconnected"]
