"""The script for the terminal: its output, its exit status, and Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import uuid
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable

import pytest

from examples.script import ask
from tests.support.raw_upstreams import RawUpstream
from tests.support.serving import ROOT, Server, Servers, upstream_settings

SCRIPT = str(ROOT / "examples" / "script" / "ask.py")

#: Runs the script with a question. Returns the exit status, stdout and stderr.
Run = Callable[[str], Awaitable[tuple[int, str, str]]]


@pytest.fixture
def server(servers: Servers, raw_upstream: RawUpstream) -> Server:
    return servers.get("quartapp", CHAT_RETRIES="0", **upstream_settings(raw_upstream.base_url))


@pytest.fixture
def run(server: Server, raw_upstream: RawUpstream, capsys: pytest.CaptureFixture[str]) -> Run:
    async def run(question: str) -> tuple[int, str, str]:
        tag = uuid.uuid4().hex
        arguments = [f"http://127.0.0.1:{server.port}/", f"{question} {tag}"]
        asking = asyncio.create_task(asyncio.to_thread(ask.main, arguments))
        (await raw_upstream.exchange(tag)).go()
        return await asking, *capsys.readouterr()

    return run


async def test_a_complete_answer_is_on_stdout_alone(run: Run) -> None:
    assert await run("whole:3") == (0, "token token token \n", "")


@pytest.mark.parametrize(
    ("question", "text", "message"),
    [
        ("end_early:2", "token token \n", "The answer is not complete: The model's server ended the answer early.\n"),
        ("status:429", "", "The chat refuses (429): The model is busy; try again later. Retry after 7 s.\n"),
        ("status:403", "", "The chat refuses (400): The model's server refused the request.\n"),
    ],
)
async def test_any_other_answer_has_the_status_1_and_a_message_on_stderr(
    run: Run, question: str, text: str, message: str
) -> None:
    assert await run(question) == (1, text, message)


@pytest.mark.parametrize(
    ("model", "text", "message"),
    [
        ("mock-refusal", "", "The model refuses: I'm sorry"),
        ("fault-length", "1 2 3\n", "The answer is not complete: length\n"),
    ],
)
async def test_an_answer_that_the_model_refuses_or_shortens_has_the_status_1(
    servers: Servers, capsys: pytest.CaptureFixture[str], model: str, text: str, message: str
) -> None:
    server = servers.get("quartapp", CHAT_MOCK_TOKENS_PER_S="0", CHAT_MODEL=model)
    status = await asyncio.to_thread(ask.main, [f"http://127.0.0.1:{server.port}", "count to 3"])
    out, err = capsys.readouterr()
    assert (status, out) == (1, text)
    assert err.startswith(message)


async def test_a_connection_that_ends_early_is_no_complete_answer(capsys: pytest.CaptureFixture[str]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"type":"delta","text":"half\\u001b[2J"}\n')
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        status = await asyncio.to_thread(ask.main, [f"http://127.0.0.1:{port}", "hi"])
    out, err = capsys.readouterr()
    assert (status, out) == (1, "half[2J\n")  # without the control character before the bracket
    assert err == "The answer is not complete: the connection ended early.\n"


def test_a_server_that_does_not_listen_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask.main(["http://127.0.0.1:9", "hi"]) == 1
    assert capsys.readouterr().err.startswith("The connection failed: ")


@pytest.mark.parametrize("arguments", [[], ["http://127.0.0.1:9"], ["ftp://127.0.0.1", "hi"], ["hi", "http://a"]])
def test_wrong_arguments_have_the_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert ask.main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ask.py URL QUESTION")


async def test_a_token_is_sent(
    servers: Servers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers.get("hypercorn", "examples.quart_project.app:app", ALICE_TOKEN="t", CHAT_MOCK_TOKENS_PER_S="0")
    address = f"http://127.0.0.1:{server.port}/ai"
    assert await asyncio.to_thread(ask.main, [address, "count to 3"]) == 1
    monkeypatch.setenv("CHAT_TOKEN", "t")
    assert await asyncio.to_thread(ask.main, [address, "count to 3"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("1 2 3\n", "The chat refuses (401): Valid credentials are needed.\n")


async def test_text_arrives_at_once_and_ctrl_c_cancels_the_answer(server: Server, raw_upstream: RawUpstream) -> None:
    tag = uuid.uuid4().hex
    command = [sys.executable, SCRIPT, f"http://127.0.0.1:{server.port}", f"stall:2 {tag}"]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert await process.stdout.readexactly(12) == b"token token "
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        exchange = await raw_upstream.exchange(tag)
        await asyncio.wrap_future(exchange.closed)
    assert (process.returncode, err) == (130, b"\nStopped.\n")


def test_a_pipe_that_ends_is_no_traceback(server: Server) -> None:
    question = f"whole:20000 {uuid.uuid4().hex}"
    command = [sys.executable, SCRIPT, f"http://127.0.0.1:{server.port}", question]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(6) == b"token "
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 1
