"""The pages on models are held to the code: the table of fields, the kinds, and each example, which is loaded."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import pytest

from quartapp.models.config import read_table
from quartapp.models.registry import open_models
from quartapp.settings.settings import Settings
from quartapp.upstreams.entry import Entry
from quartapp.upstreams.kinds import OPENAI_URL, KindName
from tests.support.endpoints import Client, chunk, event_stream, serving
from tests.support.loopback import Loopback, Received, reply

Document = dict[str, Any]

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "models.md").read_text(encoding="utf-8")
SEVERAL = (DOCS / "howto" / "several-models.md").read_text(encoding="utf-8")
SERVERS = (DOCS / "howto" / "model-servers.md").read_text(encoding="utf-8")
EXAMPLES: list[str] = re.findall(r"^```toml\n(.*?)^```$", SEVERAL + SERVERS, re.MULTILINE | re.DOTALL)

#: The value of every key.
KEY = "sk-example"

# How the page names the types of JSON Schema; the numbers that may have decimals are times.
TYPES = {
    "string": "text",
    "integer": "number",
    "number": "seconds",
    "boolean": "true or false",
    "array": "list",
    "object": "table",
}

# A value for each parameter that an example drops.
REQUEST: Document = {
    "temperature": 1,
    "top_p": 1,
    "presence_penalty": 1,
    "frequency_penalty": 1,
    "logit_bias": {"1": 1},
    "logprobs": True,
    "top_logprobs": 1,
    "seed": 1,
    "stop": "x",
    "stream_options": {"include_usage": True},
    "user": "x",
    "safety_identifier": "x",
    "prompt_cache_key": "x",
    "verbosity": "low",
}


def entries_of(example: str) -> dict[str, Document]:
    entries: dict[str, Document] = tomllib.loads(example)["models"]
    return entries


def can_be_called(entry: Document) -> bool:
    """Return whether the tests can replace the entry's server. Azure without a key needs Entra ID."""
    return "key_env" in entry or entry["kind"] not in ("azure", "mock")


def first_name(example: str) -> str:
    return next(iter(entries_of(example)))


EACH_EXAMPLE = pytest.mark.parametrize("example", EXAMPLES, ids=first_name)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set every key that the page names."""
    for name in {"OPENAI_API_KEY", *re.findall(r'^key_env = "(\w+)"', SERVERS, re.MULTILINE)}:
        monkeypatch.setenv(name, KEY)


# -- fields and kinds


def _takes(schema: Document) -> str:
    """Return the type of a field as the page writes it. Null in a schema means unset alone."""
    [schema] = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    if "enum" in schema:
        return ", ".join(f'`"{value}"`' for value in schema["enum"])
    return TYPES[schema["type"]]


def _default(schema: Document) -> str:
    """Return a field's default as the page writes it, in TOML."""
    if "default" not in schema:
        return "required"
    return "unset" if schema["default"] is None else f"`{json.dumps(schema['default'])}`"


def test_the_page_has_each_field_with_its_type_and_default() -> None:
    table = PAGE.partition("| field | default |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*) \|$", table, re.MULTILINE)
    documented = [(name, default, takes, text.replace("`", "")) for name, default, takes, text in rows]
    fields = Entry.model_json_schema()["properties"]
    assert documented == [
        (name, _default(field), _takes(field), field["description"]) for name, field in fields.items()
    ]


def test_the_page_has_each_kind_with_an_example() -> None:
    table = PAGE.partition("| kind |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(get_args(KindName))
    assert {entry["kind"] for text in EXAMPLES for entry in entries_of(text).values()} == set(get_args(KindName))


def test_each_server_that_is_still_there_has_an_example() -> None:
    _, *sections = re.split(r"^## (.*)$", SERVERS, flags=re.MULTILINE)
    without = [name for name, text in zip(sections[::2], sections[1::2], strict=True) if "```toml" not in text]
    assert without == ["GitHub Models"]


# -- examples


def _settings(folder: Path, example: str, **more: str) -> Settings:
    path = folder / "models.toml"
    path.write_text(example, encoding="utf-8")
    return Settings.load({"CHAT_MODELS_FILE": str(path), **more})


@EACH_EXAMPLE
async def test_an_example_offers_its_models_and_the_first_of_them_by_default(tmp_path: Path, example: str) -> None:
    models = open_models(_settings(tmp_path, example))
    try:
        assert list(models.names) == re.findall(r"^\[models\.([\w-]+)\]$", example, re.MULTILINE)
        assert models.get(None).name == models.names[0]
    finally:
        await models.close()


async def test_chat_model_names_the_default(tmp_path: Path) -> None:
    models = open_models(_settings(tmp_path, EXAMPLES[0], CHAT_MODEL="careful"))
    try:
        assert models.get(None).name == "careful"
    finally:
        await models.close()


def test_the_configuration_in_python_is_such_a_table() -> None:
    [assigned] = re.findall(r"^MODELS = (\{.*?^\})$", SEVERAL, re.MULTILINE | re.DOTALL)
    given = ast.literal_eval(assigned)
    table = read_table(Settings.load({"CHAT_MODELS": given}))
    assert table is not None
    assert list(table) == list(given)


def _moved(entry: Document, origin: str) -> Document:
    """Return `entry` with its server at `origin`, below the same path, without retries and fallbacks."""
    key = {} if "base_url" in entry else {"key_env": "OPENAI_API_KEY"}
    path = urlsplit(entry.get("base_url", OPENAI_URL)).path
    return {**entry, **key, "base_url": origin + path, "retries": 0, "fallbacks": []}


def _target(entry: Document) -> str:
    """Return the path of the requests to the server of `entry`."""
    path = urlsplit(entry["base_url"]).path
    match entry:
        case {"kind": "azure", "api_version": version}:
            return f"{path}/openai/deployments/{entry['model']}/chat/completions?api-version={version}"
        case {"kind": "azure"}:
            return f"{path}/openai/v1/chat/completions"
        case {"kind": "responses"}:
            return f"{path}/responses"
        case _:
            return f"{path}/chat/completions"


def _key_of(entry: Document) -> Document:
    if "key_env" not in entry:
        return {}
    return {"api-key": KEY} if entry["kind"] == "azure" else {"authorization": f"Bearer {KEY}"}


def _keys_in(request: Received) -> Document:
    return {name: value for name, value in request.headers.items() if name in ("authorization", "api-key")}


async def _request(client: Client, name: str, entry: Document) -> None:
    """Send a request with every dropped parameter. The response does not count."""
    dropped = {param: REQUEST[param] for param in entry.get("drop_params", ())}
    question = {"model": name, "messages": [{"role": "user", "content": "hi"}], "stream": True, **dropped}
    await client.ask(question)


@pytest.mark.parametrize(
    "example", [text for text in EXAMPLES if any(map(can_be_called, entries_of(text).values()))], ids=first_name
)
async def test_an_example_sends_its_server_its_key_and_no_dropped_parameter(example: str) -> None:
    async with Loopback(reply(200, event_stream(chunk(finish_reason="stop")))) as server:
        table = {
            name: _moved(entry, server.origin) for name, entry in entries_of(example).items() if can_be_called(entry)
        }
        async with serving(CHAT_MODELS=table, path="/ai/v1/chat/completions") as client:
            for name, entry in table.items():
                await _request(client, name, entry)
    for request, entry in zip(server.requests, table.values(), strict=True):
        assert (request.target, _keys_in(request)) == (_target(entry), _key_of(entry))
        assert request.json["model"] == entry["model"]
        assert request.json.keys().isdisjoint(entry.get("drop_params", ()))
