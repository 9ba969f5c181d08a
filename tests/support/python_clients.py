"""Python's clients and curl, each asking as its own documentation says: openai-python, LangChain, llm and others."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import llm.cli
import openai
import requests
from click.testing import CliRunner
from httpx_sse import EventSource, connect_sse
from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import SecretStr

from tests.support.serving import Server

LIMIT_S = 20

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": PARAMETERS}}
WEATHER = 'def weather(city: str) -> str:\n    "Tells it"\n    return "sunny"\n'


@dataclass
class Question:
    """What is asked; the log knows it by its tag."""

    server: Server
    tag: str
    model: str
    message: str = "count to 5"
    whole: bool = False
    with_tools: bool = False
    image: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def content(self) -> Any:
        """The message, in parts where an image is to go with it."""
        image = {"type": "image_url", "image_url": {"url": self.image}}
        return [{"type": "text", "text": self.message}, image] if self.image else self.message

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Request-ID": self.tag}


@dataclass
class Told:
    """What a client made of the answer: `error` is what it raises or ends with, `says` its words."""

    text: str = ""
    tokens: int | None = None
    calls: list[str] = field(default_factory=list)
    error: str = ""
    says: str = ""


class Adapter(Protocol):
    """Asks a question through one client."""

    def ask(self, question: Question, told: Told) -> None: ...

    def leave(self, question: Question) -> None:
        """Leaves after the first piece of the answer."""
        ...


@contextmanager
def raised(told: Told, *kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        told.error, told.says = type(error).__name__, str(error)


class OpenAIPython:
    def ask(self, question: Question, told: Told) -> None:
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": question.content}]
        with raised(told, openai.APIError), self._client(question) as client:
            ask = self._whole if question.whole else self._streamed
            answer = ask(client, question, told, messages)
            if answer.tool_calls:
                told.calls = [call.function.arguments for call in answer.tool_calls]
                call_id = answer.tool_calls[0].id
                messages += [answer, {"role": "tool", "tool_call_id": call_id, "content": "sunny"}]
                ask(client, question, told, messages)

    def leave(self, question: Question) -> None:
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": question.content}]
        with self._client(question) as client:
            stream = client.chat.completions.create(model=question.model, messages=messages, stream=True)
            next(chunk for chunk in stream if chunk.choices[0].delta.content)
            stream.close()

    def _client(self, question: Question) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{question.url}/v1", api_key="none", default_headers=question.headers)

    def _whole(self, client: openai.OpenAI, question: Question, told: Told, messages: Any) -> Any:
        tools = [TOOL] if question.with_tools else openai.omit
        answer = client.chat.completions.create(model=question.model, messages=messages, tools=tools)
        told.text += answer.choices[0].message.content or ""
        told.tokens = answer.usage.total_tokens if answer.usage else None
        return answer.choices[0].message

    def _streamed(self, client: openai.OpenAI, question: Question, told: Told, messages: Any) -> Any:
        """By the client's own helper, which puts the chunks together."""
        tools = [TOOL] if question.with_tools else openai.omit
        options: Any = {"stream_options": {"include_usage": True}}
        with client.chat.completions.stream(model=question.model, messages=messages, tools=tools, **options) as stream:
            for event in stream:
                told.text += event.delta if event.type == "content.delta" else ""
            answer = stream.get_final_completion()
        told.tokens = answer.usage.total_tokens if answer.usage else None
        return answer.choices[0].message


class LangChain:
    def ask(self, question: Question, told: Told) -> None:
        conversation: list[BaseMessage] = [HumanMessage(question.content)]
        with raised(told, openai.APIError):
            answer = self._answer(question, told, conversation)
            if answer.tool_calls:
                told.calls = [json.dumps(call["args"]) for call in answer.tool_calls]
                result = ToolMessage("sunny", tool_call_id=answer.tool_calls[0]["id"])
                self._answer(question, told, [*conversation, answer, result])

    def leave(self, question: Question) -> None:
        stream = self._model(question).stream(question.message)
        next(chunk for chunk in stream if chunk.content)
        stream.close()  # type: ignore[attr-defined]

    def _model(self, question: Question) -> ChatOpenAI:
        return ChatOpenAI(
            model=question.model,
            base_url=f"{question.url}/v1",
            api_key=SecretStr("none"),
            default_headers=question.headers,
            stream_usage=True,
        )

    def _answer(self, question: Question, told: Told, conversation: list[BaseMessage]) -> Any:
        model = self._model(question)
        runnable = model.bind_tools([TOOL]) if question.with_tools else model
        answer: Any = None
        chunk: Any
        if question.whole:
            answer = runnable.invoke(conversation)
            told.text += answer.content
        else:
            for chunk in runnable.stream(conversation):
                answer = chunk if answer is None else answer + chunk
                told.text += chunk.content
        told.tokens = answer.usage_metadata and answer.usage_metadata["total_tokens"]
        return answer


class Llm:
    """The program `llm`, told of the chat by extra-openai-models.yaml."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._environment = {"LLM_USER_PATH": str(directory)}

    def ask(self, question: Question, told: Told) -> None:
        options = (["--no-stream"] if question.whole else []) + (["--functions", WEATHER, "--td"] * question.with_tools)
        # In this process, for it takes the program two seconds to start.
        words = [*self._words(question), "--usage", *options, question.message]
        done = CliRunner().invoke(llm.cli.cli, words, input=self._image(question), env=self._environment)
        told.text = done.stdout.removesuffix("\n")
        told.calls = [line for line in done.stderr.splitlines() if line.startswith("Tool call: ")]
        for line in done.stderr.splitlines():
            if line.startswith("Token usage: "):
                told.tokens = sum(int(word) for word in line.split() if word.isdigit())
        if done.exit_code:
            told.error, told.says = f"exit status {done.exit_code}", done.stderr

    def leave(self, question: Question) -> None:
        program = [sys.executable, "-m", "llm"]
        leave([*program, *self._words(question), question.message], {**os.environ, **self._environment})

    def _image(self, question: Question) -> bytes:
        return base64.b64decode(question.image.partition(",")[2])

    def _words(self, question: Question) -> list[str]:
        model = {
            "model_id": "chat",
            "model_name": question.model,
            "api_base": f"{question.url}/v1",
            "headers": question.headers,
            "supports_tools": True,
            "vision": True,
        }
        (self._directory / "extra-openai-models.yaml").write_text(json.dumps([model]))
        attached = ["-a", "-"] if question.image else []
        return ["prompt", "-m", "chat", "--key", "none", "--no-log", *attached]


def body(question: Question) -> dict[str, Any]:
    tools = {"tools": [TOOL]} if question.with_tools else {}
    attached = {"messages": [{"role": "user", "content": question.content}]}
    asked = attached if question.image else {"message": question.message}
    return {**asked, "model": question.model, "stream": not question.whole} | tools


def read_records(lines: Iterator[Any], told: Told) -> None:
    """NDJSON as a script reads it. An answer without its last record would be a cut one."""
    last: dict[str, Any] = {}
    for line in lines:
        last = json.loads(line)
        told.text += last.get("text", "")
        if last["type"] == "tool_call":
            told.calls = ["".join([*told.calls, last.get("arguments", "")])]
    if last["type"] == "done":
        told.tokens = last.get("usage", {}).get("total_tokens")
    else:
        told.error, told.says = "error record", last["message"]


def read_whole(document: Any, told: Told) -> None:
    told.text = document["text"]
    told.tokens = document["usage"]["total_tokens"]
    told.calls = [call["arguments"] for call in document.get("tool_calls", [])]


class Requests:
    def __init__(self, accept: str) -> None:
        self._accept = accept

    def ask(self, question: Question, told: Told) -> None:
        with raised(told, requests.RequestException), self._post(question) as response:
            if not response.ok:
                raise requests.HTTPError(response.json()["error"]["message"])
            if question.whole:
                read_whole(response.json(), told)
            elif self._accept == "text/plain":
                for text in response.iter_content(None, decode_unicode=True):
                    told.text += text
            else:
                read_records(response.iter_lines(), told)

    def leave(self, question: Question) -> None:
        with self._post(question) as response:
            next(response.iter_content(None))

    def _post(self, question: Question) -> requests.Response:
        headers = {"Accept": self._accept, **question.headers}
        url = f"{question.url}/api/stream"
        return requests.post(url, json=body(question), headers=headers, stream=True, timeout=LIMIT_S)


class HttpxSse:
    def ask(self, question: Question, told: Told) -> None:
        with raised(told, httpx.HTTPError), self._connect(question) as source:
            if not source.response.is_success:
                raise httpx.HTTPError(json.loads(source.response.read())["error"]["message"])
            read_records((event.data for event in source.iter_sse()), told)

    def leave(self, question: Question) -> None:
        with self._connect(question) as source:
            next(source.iter_sse())

    @contextmanager
    def _connect(self, question: Question) -> Iterator[EventSource]:
        url = f"{question.url}/api/stream"
        client = httpx.Client(trust_env=False, timeout=LIMIT_S, headers=question.headers)
        with client, connect_sse(client, "POST", url, json=body(question)) as source:
            yield source


class Curl:
    def __init__(self, accept: str) -> None:
        self._accept = accept

    def ask(self, question: Question, told: Told) -> None:
        done = subprocess.run(self._command(question), capture_output=True, text=True, timeout=LIMIT_S, check=False)
        if done.returncode == 22:
            told.says = json.loads(done.stdout)["error"]["message"]
        elif question.whole:
            read_whole(json.loads(done.stdout), told)
        elif self._accept == "text/plain":
            told.text = done.stdout
        else:
            read_records(iter(done.stdout.splitlines()), told)
        if done.returncode:
            told.error = f"exit status {done.returncode}"

    def leave(self, question: Question) -> None:
        leave(self._command(question), dict(os.environ))

    def _command(self, question: Question) -> list[str]:
        headers = {"Accept": self._accept, "Content-Type": "application/json", **question.headers}
        given = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        url = f"{question.url}/api/stream"
        return ["curl", "-N", "--silent", "--fail-with-body", *given, "-d", json.dumps(body(question)), url]


def leave(command: list[str], environment: dict[str, str]) -> None:
    """Ends the program once it has shown something."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        assert program.stdout is not None
        assert program.stdout.read(1)
        program.terminate()


def adapter_of(name: str, directory: Path) -> Adapter:
    """What asks through the client of that name (tests/support/conformance.py), which may keep files in `directory`."""
    name, _, form = name.partition(", ")
    accept = {"text": "text/plain", "NDJSON": "application/x-ndjson"}.get(form, "")
    adapters: dict[str, Adapter] = {
        "openai-python": OpenAIPython(),
        "LangChain ChatOpenAI": LangChain(),
        "llm": Llm(directory),
        "requests": Requests(accept),
        "httpx-sse": HttpxSse(),
        "curl -N": Curl(accept),
    }
    return adapters[name]
