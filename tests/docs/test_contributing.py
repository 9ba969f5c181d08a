"""The worked examples, followed on a copy of the package: one folder, one row, and an answer over HTTP."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from jsonschema_rs import Draft202012Validator

from tests.support.documents import blocks
from tests.support.loopback import Answer, Loopback, reply
from tests.support.serving import ROOT, Server

PAGES = ROOT / "docs" / "contributing"
PROTOCOL, UPSTREAM = PAGES / "add-a-protocol.md", PAGES / "add-an-upstream.md"
EACH_PAGE = pytest.mark.parametrize("page", [PROTOCOL, UPSTREAM], ids=lambda page: page.stem)

pytestmark = pytest.mark.timeout(180)


def follow(page: Path, folder: Path) -> None:
    """Copy the package to `folder`, write the modules of `page` into it, and change the one file as shown."""
    shutil.copytree(ROOT / "quartapp", folder / "quartapp", ignore=shutil.ignore_patterns("__pycache__"))
    for block in blocks(page):
        if block.language == "python":
            assert block.file
            path = folder / block.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            (path.parent / "__init__.py").write_text('"""Ollama, as the page shows it."""\n', encoding="utf-8")
        elif block.language == "diff":
            (changed,) = re.findall(r"`(quartapp/[\w/]+\.py)`:$", block.before)
            (folder / changed).write_text(patched((folder / changed).read_text("utf-8"), block.text), encoding="utf-8")


def patched(text: str, diff: str) -> str:
    """Return `text` with the changes of `diff`, whose lines of context and removed lines are each there once."""
    lines, at = text.splitlines(), 0
    for line in diff.splitlines():
        mark, content = line[0], line[1:]
        if mark != "+":
            assert lines.count(content) == 1, f"not once in the module: {content}"
            at = lines.index(content) + (mark == " ")
        if mark == "-":
            del lines[at]
        elif mark == "+":
            lines.insert(at, content)
            at += 1
    return "\n".join(lines) + "\n"


@contextmanager
def served(folder: Path, **settings: str) -> Iterator[str]:
    """Serve the chat in the copy of the package, and yield its base URL."""
    server = Server("quartapp", folder, {"PYTHONPATH": str(folder), **settings})
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.terminate()
        server.reap()


@asynccontextmanager
async def serving_page(
    page: Path, folder: Path, upstream: Answer, **settings: str
) -> AsyncIterator[tuple[Any, Loopback]]:
    """Open a client of the chat that `page` has changed, and the fake server of its model."""
    follow(page, folder)
    async with Loopback(upstream) as server:
        models = {"CHAT_RETRIES": "0"} | {
            name: value.replace("ORIGIN", server.origin) for name, value in settings.items()
        }
        with served(folder, **models) as address:
            async with aiohttp.ClientSession(address, timeout=aiohttp.ClientTimeout(30)) as client:
                yield client, server


@EACH_PAGE
def test_a_page_needs_one_folder_and_one_row(page: Path) -> None:
    files = {Path(block.file).parent for block in blocks(page) if block.language == "python" and block.file}
    assert len(files) == 1
    (diff,) = [block.text for block in blocks(page) if block.language == "diff"]
    imported, row = [line for line in diff.splitlines() if line.startswith("+")]
    assert imported.startswith("+from quartapp.")
    assert "ollama" in row.lower()


@EACH_PAGE
def test_the_modules_keep_the_rules_of_the_package(page: Path, tmp_path: Path) -> None:
    follow(page, tmp_path)
    for name in ("tests/docs/test_layers.py", "docs/explanation/design.md", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (folder,) = {str(Path(block.file).parent) for block in blocks(page) if block.language == "python" and block.file}
    changed = [folder, "quartapp/blueprint.py", "quartapp/upstreams/kinds.py"]
    for command in (
        ["ruff", "check", *changed],
        ["ruff", "format", "--check", *changed],
        ["pytest", "-q", "-p", "no:cacheprovider", "tests/docs/test_layers.py"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


# -- the protocol

CHUNK = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Rayleigh"}}]}
FINISH = {
    "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1},
}
CHUNKS = b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in (CHUNK, FINISH)) + b"data: [DONE]\n\n"
CHAT = {"OPENAI_BASE_URL": "ORIGIN/v1", "CHAT_MODEL": "the-model"}
GENERATE = "/ollama/api/generate"


async def test_the_protocol_streams_an_answer(tmp_path: Path) -> None:
    async with serving_page(PROTOCOL, tmp_path, reply(200, CHUNKS), **CHAT) as (client, server):
        async with client.post(GENERATE, json={"prompt": "Why is the sky blue?"}) as answer:
            assert (answer.status, answer.content_type) == (200, "application/x-ndjson")
            records = [json.loads(line) for line in (await answer.text()).splitlines()]
        async with client.post(GENERATE, json={"prompt": "Why?", "stream": False}) as answer:
            answer_object = await answer.json()
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 1}
    assert records == [
        {"model": "the-model", "response": "Rayleigh", "done": False},
        {"model": "the-model", "response": "", **end},
    ]
    assert answer_object == {"model": "the-model", "response": "Rayleigh", **end}
    assert server.requests[0].json["messages"] == [{"role": "user", "content": "Why is the sky blue?"}]


async def test_the_protocol_reports_a_truncated_answer_and_a_refusal(tmp_path: Path) -> None:
    async with serving_page(PROTOCOL, tmp_path, reply(200, CHUNKS.partition(b"\n\n")[0] + b"\n\n"), **CHAT) as (
        client,
        _,
    ):
        async with client.post(GENERATE, json={"prompt": "Why?"}) as answer:
            last = json.loads((await answer.text()).splitlines()[-1])
            assert last == {"error": "The model's server ended the answer early."}
        async with client.post(GENERATE, json={"prompt": 1}) as refused:
            refusal, refused_as = await refused.json(), refused.content_type
            assert (refused.status, refusal) == (422, {"error": "Invalid value: 'prompt'."})
        async with client.get(GENERATE) as refused:
            assert (refused.status, refused.headers["Allow"]) == (405, "POST, OPTIONS")
        async with client.get("/openapi.json") as document:
            described = await document.json()
    content = described["paths"][GENERATE]["post"]["responses"]["422"]["content"]
    assert list(content) == [refused_as] == ["application/json"]
    schema = Draft202012Validator(content[refused_as]["schema"] | {"components": described["components"]})
    assert schema.is_valid(refusal)
    assert not schema.is_valid({"message": refusal["error"]})


def test_the_protocol_answers_as_the_page_shows(tmp_path: Path) -> None:
    follow(PROTOCOL, tmp_path)
    (shown,) = [block.text for block in blocks(PROTOCOL) if block.language == "text"]
    (command,) = [block.text for block in blocks(PROTOCOL) if block.language == "sh"]
    with served(tmp_path, CHAT_MOCK_TOKENS_PER_S="0") as address:
        local = command.replace("curl -N http://127.0.0.1:8000", f"curl --silent {address}")
        assert subprocess.check_output(local, shell=True, text=True, timeout=30) == shown


# -- the upstream

LINES = [
    {"message": {"role": "assistant", "content": "", "thinking": "Light."}, "done": False},
    {"message": {"role": "assistant", "content": "Rayleigh"}, "done": False},
    {
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 5,
        "eval_count": 1,
    },
]
BODY = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)
QUESTION = {"message": "Why is the sky blue?", "model": "local", "temperature": 0.5, "max_tokens": 100}


def table() -> dict[str, str]:
    """Return the table of the page, with the fake server as the model's server."""
    (example,) = [block.text for block in blocks(UPSTREAM) if block.language == "toml"]
    models = tomllib.loads(example)["models"]
    models["local"]["base_url"] = "ORIGIN"
    return {"CHAT_MODELS": json.dumps(models)}


async def test_the_upstream_answers(tmp_path: Path) -> None:
    records = {"Accept": "application/x-ndjson"}
    async with serving_page(
        UPSTREAM, tmp_path, reply(200, BODY, {"Content-Type": "application/x-ndjson"}), **table()
    ) as (
        client,
        server,
    ):
        async with client.post("/api/stream", json=QUESTION, headers=records) as answer:
            kinds = [json.loads(line) for line in (await answer.text()).splitlines()]
        async with client.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": "Why?"}]}
        ) as answer:
            completion = await answer.json()
        async with client.post("/v1/chat/completions", json={"messages": [], "logprobs": True}) as refused:
            assert refused.status == 400
    assert [record["type"] for record in kinds] == ["start", "reasoning", "delta", "done"]
    assert kinds[2]["text"] == "Rayleigh"
    assert kinds[3]["usage"] == {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6}
    assert completion["choices"][0]["message"]["content"] == "Rayleigh"
    assert (server.requests[0].target, server.requests[0].json) == (
        "/api/chat",
        {
            "model": "llama3.2",
            "messages": [{"role": "user", "content": "Why is the sky blue?"}],
            "options": {"num_predict": 100, "temperature": 0.5},
            "stream": True,
        },
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (BODY.partition(b'{"message": {"role": "assistant", "content": ""}')[0], "upstream_truncated"),
        (BODY[:40], "upstream_error"),
        (b'{"error": "out of memory"}\n', "upstream_error"),
    ],
)
async def test_the_upstream_reports_a_failure(body: bytes, code: str, tmp_path: Path) -> None:
    async with serving_page(UPSTREAM, tmp_path, reply(200, body), **table()) as (client, _):
        answer = await client.post("/api/stream", json=QUESTION, headers={"Accept": "application/x-ndjson"})
        last = json.loads((await answer.text()).splitlines()[-1])
    assert last.get("error", last)["code"] == code
