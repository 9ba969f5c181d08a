"""The table of models: the fields of an entry, the sources of the table, and the messages that stop the start."""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from quartapp import Settings, SettingsError
from quartapp.models.config import read_table, single_entry
from quartapp.models.registry import open_models
from quartapp.settings.urls import is_server
from quartapp.upstreams.entry import Entry

CANARY = "canary-7f3a9b1c2d4e5f60"

FILE = """
[models.fast]
kind = "openai"
key_env = "FAST_KEY"
model = "gpt-5.4-mini"
params = { temperature = 0.2 }
fallbacks = ["local"]
first_event_timeout_s = 20

[models.local]
kind = "compatible"
base_url = "http://127.0.0.1:11434/v1"
offered = false
"""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Change to an empty directory without settings in the environment, except the key that FILE names."""
    for name in [*os.environ]:
        if name.startswith(("CHAT_", "OPENAI_", "AZURE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FAST_KEY", CANARY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(**models: Any) -> Any:
    return read_table(Settings.load({"CHAT_MODELS": models}))


def entry(**fields: Any) -> Entry:
    read: Entry = table(one={"kind": "compatible", "base_url": "http://127.0.0.1:1/v1", **fields})["one"]
    return read


def fault(**fields: Any) -> str:
    with pytest.raises(SettingsError) as raised:
        entry(**fields)
    assert raised.value.__suppress_context__ or raised.value.__cause__ is None
    return str(raised.value)


# -- where it is read from


def test_a_file_has_the_models_in_their_order(bare: Path) -> None:
    (bare / "models.toml").write_text(FILE, encoding="utf-8")
    read = read_table(Settings.load({"CHAT_MODELS_FILE": "models.toml"}))
    assert read is not None
    assert list(read) == ["fast", "local"]
    fast, local = read.values()
    assert (fast.kind, fast.env_name, fast.params, fast.fallbacks) == (
        "openai",
        "FAST_KEY",
        {"temperature": 0.2},
        ["local"],
    )
    assert (fast.first_event_timeout_s, fast.offered, local.offered, local.env_name) == (20, True, False, None)


def test_the_environment_may_have_the_models_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_MODELS", json.dumps({"a": {"kind": "mock"}}))
    assert list(read_table(Settings.load()) or ()) == ["a"]


def test_without_a_file_and_a_variable_there_is_no_table() -> None:
    assert read_table(Settings.load()) is None


def test_a_file_and_a_variable_together_stop_the_start() -> None:
    both = {"CHAT_MODELS": {"a": {"kind": "mock"}}, "CHAT_MODELS_FILE": "models.toml"}
    with pytest.raises(SettingsError, match=r"^CHAT_MODELS_FILE: CHAT_MODELS is set too"):
        read_table(Settings.load(both))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not TOML in UTF-8;"),
        (f'[models.a]\nkind = "{CANARY}'.encode(), "not TOML in UTF-8: "),
        (f"{CANARY} = 1".encode(), "the only table at the top is [models]"),
        (b"", "the only table at the top is [models]"),
        (b"models = 3", "no models"),
        (b"[models]", "no models"),
    ],
)
def test_a_file_that_holds_no_models_stops_the_start(content: bytes, message: str, bare: Path) -> None:
    (bare / "models.toml").write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        read_table(Settings.load({"CHAT_MODELS_FILE": "models.toml"}))
    assert str(raised.value).startswith(f"CHAT_MODELS_FILE: {message}")
    assert CANARY not in str(raised.value)


def test_a_file_of_models_that_cannot_be_read_is_named_with_its_folder(bare: Path) -> None:
    (bare / "folder").mkdir()
    for name, kind in (("nowhere.toml", "FileNotFoundError"), ("folder", "IsADirectoryError")):
        with pytest.raises(SettingsError) as raised:
            read_table(Settings.load({"CHAT_MODELS_FILE": name}))
        assert str(raised.value).startswith(f"CHAT_MODELS_FILE: {bare / name} cannot be read ({kind}); for example ")


@pytest.mark.parametrize("value", ["{", CANARY, "[1]", '"x"', "3", "null", "{}", "[" * 100_000])
def test_models_that_are_not_a_mapping_stop_the_start(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_MODELS", value)
    with pytest.raises(SettingsError, match=r"^CHAT_MODELS: ") as raised:
        read_table(Settings.load())
    assert CANARY not in str(raised.value)
    assert json.loads(str(raised.value).partition("; for example ")[2].removeprefix("CHAT_MODELS="))["fast"]


@pytest.mark.parametrize(
    "value",
    ['{"a": {"kind": "mock"}, "a": {"kind": "mock"}}', '{"a": {"kind": "mock", "kind": "mock"}}'],
)
def test_a_duplicate_name_stops_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^CHAT_MODELS: a name stands twice"):
        read_table(Settings.load({"CHAT_MODELS": value}))


def test_a_byte_order_mark_in_a_file_is_skipped(bare: Path) -> None:
    (bare / "models.toml").write_text(FILE, encoding="utf-8-sig")
    assert list(read_table(Settings.load({"CHAT_MODELS_FILE": "models.toml"})) or ()) == ["fast", "local"]


def file_fault(bare: Path, content: str) -> str:
    (bare / "models.toml").write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError) as raised:
        read_table(Settings.load({"CHAT_MODELS_FILE": "models.toml"}))
    return str(raised.value)


@pytest.mark.parametrize("name", ["gpt-4.1", "qwen2.5.1", "gpt-4.1 x"])
def test_the_message_about_an_unquoted_name_with_a_dot_shows_the_quotes(name: str, bare: Path) -> None:
    written = ".".join(part if " " not in part else f'"{part}"' for part in name.split("."))
    message = file_fault(bare, f'[models.{written}]\nkind = "mock"\n')
    first = name.partition(".")[0]
    assert message.startswith(f"CHAT_MODELS_FILE: models.{first}: a name with a dot goes in quotes; ")
    assert message.endswith(f'[models."{name}"]')


def test_a_quoted_name_with_a_dot_is_one_name(bare: Path) -> None:
    (bare / "models.toml").write_text('[models."gpt-4.1"]\nkind = "mock"\n', encoding="utf-8")
    assert list(read_table(Settings.load({"CHAT_MODELS_FILE": "models.toml"})) or ()) == ["gpt-4.1"]


def test_an_invalid_entry_of_a_file_is_reported_with_an_example_for_the_file(bare: Path) -> None:
    message = file_fault(bare, '[models."a.b"]\nkind = "nothing"\n')
    assert message.startswith('CHAT_MODELS_FILE: models."a.b".kind: ')
    (bare / "models.toml").write_text(message.partition(", for example ")[2], encoding="utf-8")
    with pytest.raises(SettingsError, match="OPENAI_API_KEY is not set"):
        read_table(Settings.load({"CHAT_MODELS_FILE": "models.toml"}))


def test_an_endlessly_nested_file_stops_the_start(bare: Path) -> None:
    assert file_fault(bare, f"[models.a]\nparams.x = {'[' * 50_000}").startswith("CHAT_MODELS_FILE: not TOML")


def test_tuples_are_lists_in_a_mapping() -> None:
    read = entry(params={"stop": ("a", ("b",))}, drop_params=("seed", "n"))
    assert (read.params, read.drop_params) == ({"stop": ["a", ["b"]]}, ["seed", "n"])


class Words(str):
    """As a project's own text may be: what it holds counts, not how it shows itself."""

    def __str__(self) -> str:
        return "shown"


class Count(int):
    pass


class Share(float):
    pass


def test_a_subclass_of_a_json_type_is_accepted() -> None:
    read = entry(params={"x": {Words("a"): [Words("b"), Count(2), Share(0.5), True]}}, system_prompt=Words("c"))
    assert json.dumps(read.params) == '{"x": {"a": ["b", 2, 0.5, true]}}'
    [(name, [text, count, share, flag])] = read.params["x"].items()
    assert [type(each) for each in (name, text, count, share, flag)] == [str, str, int, float, bool]
    assert (type(read.system_prompt), read.system_prompt) == (str, "c")


def test_an_endlessly_nested_mapping_stops_the_start() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    assert fault(params=endless).startswith("CHAT_MODELS: nested deeper than 32; for example ")


# -- the fields of an entry

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown kind": ({"kind": CANARY}, "CHAT_MODELS: models.one.kind: "),
    "half of a character in a system prompt": (
        {"system_prompt": f"{CANARY}\ud83d"},
        "CHAT_MODELS: models.one.system_prompt: half of a character",
    ),
    "an unknown field": (
        {"temperature": 1},
        "CHAT_MODELS: models.one.temperature: no such field; docs/reference/models.md",
    ),
    "a field by almost its name": (
        {"fallback": ["x"]},
        "CHAT_MODELS: models.one.fallback: no such field, perhaps fallbacks is meant; docs/reference/models.md",
    ),
    "a field by almost its name beside one that lacks": (
        {"kind": None, "knd": "openai"},
        "CHAT_MODELS: models.one.knd: ",
    ),
    "a field that breaks the line": ({"a\nb": 1}, 'CHAT_MODELS: models.one."a\\nb": no such field'),
    "a key in the table": (
        {"api_key": CANARY},
        "CHAT_MODELS: models.one.api_key: no such field, perhaps key_env is meant; ",
    ),
    "a key where its name belongs": ({"key_env": CANARY}, "CHAT_MODELS: models.one.key_env: no such variable"),
    "no scheme": (
        {"base_url": "localhost:11434"},
        "CHAT_MODELS: models.one.base_url: has to begin with http:// or https://; ",
    ),
    "no server": ({"base_url": None}, "CHAT_MODELS: models.one: compatible needs a base_url"),
    "an endpoint without Azure's name": (
        {"kind": "azure", "base_url": None},
        "CHAT_MODELS: models.one: azure needs a base_url",
    ),
    "a server for the mock model": ({"kind": "mock"}, "CHAT_MODELS: models.one: the mock model has no "),
    "a version of nobody": ({"api_version": "2024-10-21"}, "CHAT_MODELS: models.one: api_version is for Azure only"),
    "a key that is to be sent and not there": ({"auth": "bearer"}, "CHAT_MODELS: models.one: auth sends a key"),
    "text for a number": ({"retries": "1"}, "CHAT_MODELS: models.one.retries: "),
    "a negative number": ({"retries": -1}, "CHAT_MODELS: models.one.retries: "),
    "no time": ({"first_event_timeout_s": 0}, "CHAT_MODELS: models.one.first_event_timeout_s: "),
    "an endless time": ({"idle_timeout_s": float("inf")}, "CHAT_MODELS: models.one.idle_timeout_s: "),
    "a limit of nothing": ({"max_output_tokens": 0}, "CHAT_MODELS: models.one.max_output_tokens: "),
    "a header that is text": ({"headers": "X-A"}, "CHAT_MODELS: models.one.headers: should be a table"),
    "a header that is no text": ({"headers": {"X-A": 1}}, "CHAT_MODELS: models.one.headers.X-A: "),
    "parameters in a list": ({"params": [CANARY]}, "CHAT_MODELS: models.one.params: should be a table"),
    "a name for a list": ({"fallbacks": "two"}, "CHAT_MODELS: models.one.fallbacks: should be a list"),
    "the model among the parameters": ({"params": {"model": "m"}}, "CHAT_MODELS: models.one.params: "),
    "several answers": ({"params": {"n": 2}}, "CHAT_MODELS: models.one.params: "),
    "an unknown fallback": (
        {"fallbacks": ["two"]},
        "CHAT_MODELS: models.one.fallbacks: two is not another model; for example []",
    ),
    "itself as a fallback": (
        {"fallbacks": ["one"]},
        "CHAT_MODELS: models.one.fallbacks: one is not another model; ",
    ),
    "a variable that is not there": (
        {"key_env": "SLOW_KEY"},
        "CHAT_MODELS: models.one.key_env: no such variable SLOW_KEY, nor line in .env; for example OPENAI_API_KEY",
    ),
    "a time that can never be over": (
        {"first_event_timeout_s": 181},
        "CHAT_MODELS: models.one.first_event_timeout_s: above CHAT_FIRST_EVENT_TIMEOUT_S",
    ),
    "nothing that is offered": ({"offered": False}, "CHAT_MODELS: none of the models is offered"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_invalid_entry_is_reported_with_its_path_and_without_its_value(kind: str) -> None:
    fields, message = WRONG[kind]
    assert fault(**fields).startswith(message)
    assert CANARY not in fault(**fields)


def test_an_entry_that_is_not_a_table_is_reported_as_such() -> None:
    with pytest.raises(SettingsError, match=r"^CHAT_MODELS: models.one: should be a table; "):
        table(one=CANARY)


def test_an_entry_without_a_kind_is_reported_as_such() -> None:
    with pytest.raises(SettingsError, match=r"^CHAT_MODELS: models.one.kind: not there; "):
        table(one={"model": "m"})


CONNECTIONS = ["Connection", "Content-Length", "Content-Encoding", "Expect", "Host", "Keep-Alive", "TE", "Trailer"]
CONNECTIONS += ["Transfer-Encoding", "Upgrade", "Proxy-Connection", "Accept-Encoding", "content-type"]
KEY_HEADERS = ["Authorization", "Proxy-Authorization", "api-key", "X-API-Key", "Ocp-Apim-Subscription-Key", "Cookie"]
KEY_HEADERS += ["X-Auth-Token", "Helicone-Auth", "X-Client-Secret", "x-goog-api-key"]


@pytest.mark.parametrize("name", CONNECTIONS)
def test_an_entry_cannot_set_a_header_of_the_connection(name: str) -> None:
    assert fault(headers={name: CANARY}).startswith(
        f"CHAT_MODELS: models.one.headers.{name}: belongs to the connection"
    )


@pytest.mark.parametrize("name", KEY_HEADERS)
def test_a_header_with_a_key_is_refused(name: str) -> None:
    message = fault(headers={name: CANARY})
    assert message.startswith(f"CHAT_MODELS: models.one.headers.{name}: carries a key")
    assert CANARY not in message


@pytest.mark.parametrize("value", [f"Bearer {CANARY}", f"basic {CANARY}", f"sk-{CANARY}", f" Bearer {CANARY}"])
def test_a_key_is_recognised_by_its_form_too(value: str) -> None:
    message = fault(headers={"X-Upstream": value})
    assert message.startswith("CHAT_MODELS: models.one.headers.X-Upstream: carries a key")
    assert CANARY not in message


@pytest.mark.parametrize("name", ["", "a b", "a:", f"X: {CANARY}", "X-\r\nY", "é", "x\x00", "(a)", "a/b"])
def test_the_name_of_a_header_is_a_token(name: str) -> None:
    message = fault(headers={name: CANARY})
    assert message.startswith("CHAT_MODELS: models.one.headers: the name of a header has ")
    assert CANARY not in message


@pytest.mark.parametrize("value", [f"{CANARY}\r\nX-B: b", "a\x00", "a\tb", "a\x7f", "é"])
def test_the_value_of_a_header_is_one_line(value: str) -> None:
    assert fault(headers={"X-A": value}).startswith("CHAT_MODELS: models.one.headers.X-A: the value of a header is ")


def test_a_header_is_set_once() -> None:
    assert fault(headers={"X-A": "1", "x-a": "2"}).startswith("CHAT_MODELS: models.one.headers: the same header twice")


def test_headers_that_name_a_site_or_a_team_are_sent() -> None:
    headers = {
        "HTTP-Referer": "https://example.com",
        "X-Title": "Ann's page",
        "OpenAI-Organization": "org-1",
        "a!#": "",
    }
    assert entry(headers=headers).headers == headers


UNSENDABLE: dict[str, tuple[Any, str]] = {
    "a date": ({"x": datetime.date(2024, 1, 1)}, "params.x: not a value of JSON"),
    "a time in a list": ({"x": {"y": [1, datetime.time(1)]}}, "params.x.y.1: not a value of JSON"),
    "bytes": ({"x": b"a"}, "params.x: not a value of JSON"),
    "infinity": ({"x": float("inf")}, "params.x: not a finite number"),
    "no number": ({"x": [{"y z": float("nan")}]}, 'params.x.0."y z": not a finite number'),
    "half of an emoji": ({"x": "\ud83d"}, "params.x: half of a character"),
    "half of an emoji for a name": ({"\ud83d": 1}, "params: a name that is not text in Unicode"),
    "half of an emoji for a name inside": ({"x": {"\ud83d": 1}}, "params.x: a name that is not text in Unicode"),
    "nothing for a name": ({"x": [{None: 1}]}, "params.x.0: a name that is not text in Unicode"),
    "a pair for a name": ({"x": {(1, CANARY): 1}}, "params.x: a name that is not text in Unicode"),
    "a number for a name": ({"x": {1: 1}}, "params.x: a name that is not text in Unicode"),
    "a number that nobody writes": ({"x": 10**5000}, "params.x: a number of more than 4300 digits"),
    "text for a limit": ({"max_tokens": "many"}, "params.max_tokens: a limit of tokens is "),
    "half a token": ({"max_completion_tokens": 1.5}, "params.max_completion_tokens: a limit of tokens is "),
    "yes for a limit": ({"max_tokens": True}, "params.max_tokens: a limit of tokens is "),
    "no tokens": ({"max_output_tokens": 0}, "params.max_output_tokens: a limit of tokens is "),
}


@pytest.mark.parametrize("kind", UNSENDABLE)
def test_parameters_that_cannot_be_sent_are_reported_with_their_path(kind: str) -> None:
    params, message = UNSENDABLE[kind]
    assert fault(params=params).startswith(f"CHAT_MODELS: models.one.{message}")
    assert fault(params=params, max_output_tokens=5).startswith(f"CHAT_MODELS: models.one.{message}")
    assert CANARY not in fault(params=params)


@pytest.mark.parametrize("value", ["2024-01-01", "1979-05-27T07:32:00Z", "07:32:00", "inf", "nan", "[[1], [-inf]]"])
def test_values_of_toml_that_json_lacks_stop_the_start(value: str, bare: Path) -> None:
    message = file_fault(bare, f'[models.a]\nkind = "mock"\nparams = {{ x = {value} }}')
    assert message.startswith("CHAT_MODELS_FILE: models.a.params.x")


@pytest.mark.parametrize(
    ("params", "place"),
    [
        ({"text": "x", "verbosity": "low"}, "text"),
        ({"reasoning": ["low"]}, "reasoning"),
        ({"tools": "web_search"}, "tools"),
        ({"tools": [{"type": "web_search"}, "web_search"]}, "tools.1"),
        ({"tools": [{"type": "function", "function": "f"}]}, "tools.0"),
    ],
)
def test_parameters_of_the_responses_api_have_its_shape(params: dict[str, Any], place: str) -> None:
    message = fault(kind="responses", params=params)
    assert message.startswith(f"CHAT_MODELS: models.one.params.{place}: ")
    assert entry(params=params).params == params


def test_valid_parameters_are_unchanged() -> None:
    params: dict[str, Any] = {
        "a": None,
        "b": [1, 0.5, True, "x"],
        "c": {"d": {}},
        "max_tokens": 5,
        "tools": [{"type": "web_search"}],
    }
    assert entry(kind="responses", params=params).params == params


# -- addresses

WRONG_URLS = {
    "no scheme": "localhost:11434",
    "another scheme": f"ftp://{CANARY}",
    "a name and a password": f"http://user:{CANARY}@127.0.0.1/v1",
    "a name": f"http://{CANARY}@127.0.0.1/v1",
    "a query": f"http://127.0.0.1/v1?key={CANARY}",
    "an empty query": "http://127.0.0.1/v1?",
    "a fragment": f"http://127.0.0.1/v1#{CANARY}",
    "a port that is too large": "http://127.0.0.1:99999/v1",
    "no port": "http://127.0.0.1:0/v1",
    "text for a port": f"http://127.0.0.1:{CANARY}/v1",
    "no host": "http://:80/v1",
    "half an address": "http://[::1/v1",
    "an empty label": "http://a..b/v1",
    "a label that is too long": f"http://{'a' * 64}/v1",
    "white space": f"http://127.0.0.1/{CANARY} v1",
    "a line feed": "http://127.0.0.1/v1\n",
    "a backslash": f"http://127.0.0.1\\{CANARY}/v1",
    "a backslash in the path": f"http://127.0.0.1/{CANARY}\\v1",
    "a number too many": "http://1.2.3.4.5/v1",
    "a number too large": "http://999.1.1.1/v1",
    "numbers too few": "http://127.1/v1",
    "one number": "http://2130706433/v1",
    "digits of another script": "http://１.2.3.4/v1",
    "an address of another kind": "http://[v1.x]/v1",
}


def address_faults(url: str) -> Iterator[tuple[str, str]]:
    """Yield the message about a URL for each place where it can be."""
    for name in ("OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"):
        with pytest.raises(SettingsError) as raised:
            Settings.load({name: url})
        yield name, str(raised.value)
    yield "CHAT_MODELS: models.one.base_url", fault(base_url=url)


@pytest.mark.parametrize("kind", WRONG_URLS)
def test_an_unusable_url_is_reported_with_its_path_and_not_repeated(kind: str) -> None:
    for place, message in address_faults(WRONG_URLS[kind]):
        assert message.startswith(f"{place}: ")
        assert CANARY not in message
        assert not {"99999", "a..b", "^http"} & set(message.replace(";", " ").split())


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:11434/v1",
        "HTTPS://Example.COM",
        "http://[::1]:80/",
        "https://bücher.example/v1",
        "http://1.example",
    ],
)
def test_valid_urls_are_unchanged(url: str) -> None:
    assert (entry(base_url=url).base_url, Settings.load({"OPENAI_BASE_URL": url}).openai_base_url) == (url, url)


# What only the clients know to be none. Newer versions of Python refuse text behind an address themselves.
_ALL_UNASKABLE = {
    "a name that is a picture": f"http://☃.{CANARY}.example/v1",
    "a ligature": f"http://ﬀ.{CANARY}.example/v1",
    "text behind an address": f"http://[::1]{CANARY}/v1",
    "a path that is too long": f"http://127.0.0.1/{CANARY * 4000}",
}
UNASKABLE = {kind: url for kind, url in _ALL_UNASKABLE.items() if is_server(url)}


@pytest.mark.parametrize("kind", UNASKABLE)
@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "CHAT_PROXY"])
def test_a_url_that_httpx_refuses_is_reported_with_its_setting(name: str, kind: str) -> None:
    with pytest.raises(SettingsError) as raised:
        open_models(Settings.load({name: UNASKABLE[kind]}))
    assert re.fullmatch(rf"{name}: not a usable URL, [^;]+; for example {name}=http\S+", str(raised.value))
    assert str(raised.value).isascii()
    assert CANARY not in str(raised.value)
    assert raised.value.__context__ is None


@pytest.mark.parametrize("kind", UNASKABLE)
def test_a_url_that_httpx_refuses_is_reported_with_its_field(kind: str) -> None:
    message = fault(base_url=UNASKABLE[kind])
    assert message.startswith("CHAT_MODELS: models.one.base_url: not a usable URL, ")
    assert CANARY not in message


OPENAIS = ["https://api.openai.com/v1", "https://api.openai.com/v1/", "https://API.OpenAI.com:443/v1"]
OTHERS = [
    "http://api.openai.com/v1",
    "http://api.openai.com:443/v1",
    "https://api.openai.com:8443/v1",
    "https://api.openai.com.example/v1",
    "https://api.openai.com/v2",
    "https://eu.api.openai.com/v1",
]


@pytest.mark.parametrize("url", OPENAIS)
def test_openais_server_is_recognised_in_any_spelling(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    assert table(a={"kind": "openai", "base_url": url})["a"].env_name == "OPENAI_API_KEY"
    assert single_entry(Settings.load({"OPENAI_BASE_URL": url}))[1].kind == "openai"


@pytest.mark.parametrize("url", OTHERS)
def test_a_server_with_a_similar_address_gets_no_openai_key(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    assert table(a={"kind": "openai", "base_url": url})["a"].env_name is None
    assert single_entry(Settings.load({"OPENAI_BASE_URL": url}))[1].kind == "compatible"


def test_a_mock_model_that_does_not_exist_stops_the_start() -> None:
    with pytest.raises(SettingsError, match=r"^CHAT_MODELS: models.a.model: not a model of the mock server"):
        table(a={"kind": "mock", "model": "nobody"})


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201])
def test_a_name_that_no_request_can_contain_stops_the_start(name: str) -> None:
    with pytest.raises(SettingsError, match="a name has 1 to 200 characters"):
        table(**{name: {"kind": "mock"}})


@pytest.mark.parametrize(
    ("fallbacks", "message"),
    [
        (["local", "local"], "local is listed twice; each fallback is listed once"),
        (["local", "locla"], "locla is not another model; for example local"),
        (["x y"], '"x y" is not another model; for example local'),
    ],
)
def test_a_wrong_fallback_is_named(fallbacks: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        table(a={"kind": "mock", "fallbacks": fallbacks}, local={"kind": "mock"})
    assert str(raised.value) == f"CHAT_MODELS: models.a.fallbacks: {message}"


@pytest.mark.parametrize(
    "key",
    [
        CANARY,
        CANARY.upper(),
        "AKIA0123456789ABCDEF",
        "gsk_abc",
        "0123456789abcdef0123456789abcdef",
        "sk-abc",
        "A_B_0123456789ABCDEF",
    ],
)
def test_a_possible_key_in_the_place_of_its_name_is_not_repeated(key: str) -> None:
    message = fault(key_env=key)
    assert message.startswith("CHAT_MODELS: models.one.key_env: no such variable, nor line in .env; ")
    assert key not in message


# -- keys


def test_a_key_may_be_in_the_environment_file(bare: Path) -> None:
    (bare / ".env").write_text(f"LOCAL_KEY={CANARY}\n", encoding="utf-8")
    assert entry(key_env="LOCAL_KEY").env_name == "LOCAL_KEY"


@pytest.mark.parametrize("kind", ["openai", "responses"])
def test_openais_own_server_is_sent_its_usual_key(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    assert table(a={"kind": kind})["a"].env_name == "OPENAI_API_KEY"


@pytest.mark.parametrize("kind", ["openai", "responses", "compatible", "azure"])
def test_no_other_server_is_sent_a_key_that_its_entry_does_not_name(kind: str) -> None:
    assert table(a={"kind": kind, "base_url": "https://api.example.com/v1"})["a"].env_name is None


def test_openais_own_server_without_a_key_stops_the_start() -> None:
    with pytest.raises(
        SettingsError, match=r"^CHAT_MODELS: models.a: OPENAI_API_KEY is not set; .* OPENAI_API_KEY=sk-…"
    ):
        table(a={"kind": "openai"})


ENTRIES_WITH_KEYS: dict[str, dict[str, Any]] = {
    "OPENAI_API_KEY": {"kind": "compatible", "base_url": "https://a.example/v1", "key_env": "OPENAI_API_KEY"},
    "AZURE_OPENAI_API_KEY": {"kind": "azure", "base_url": "https://a.example", "key_env": "AZURE_OPENAI_API_KEY"},
    "unnamed": {"kind": "openai"},
}


@pytest.mark.parametrize("kind", ENTRIES_WITH_KEYS)
def test_a_key_in_a_setting_is_used_for_its_variable(kind: str, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = ENTRIES_WITH_KEYS[kind].get("key_env", "OPENAI_API_KEY")
    argument = {"CHAT_MODELS": {"o": ENTRIES_WITH_KEYS[kind]}}
    (bare / ".env").write_text(f"{name}=sk-file\n", encoding="utf-8")
    assert key_of(Settings.load(argument)) == "sk-file"
    monkeypatch.setenv(name, "sk-environment")
    assert key_of(Settings.load(argument)) == "sk-environment"
    assert key_of(Settings.load(argument, {name: "sk-app"})) == "sk-app"
    assert key_of(Settings.load({**argument, name: "sk-argument"}, {name: "sk-app"})) == "sk-argument"
    monkeypatch.delenv(name)
    assert key_of(Settings.load({**argument, name: "sk-argument"})) == "sk-argument"


def key_of(settings: Settings) -> str:
    """Return the key that is sent to the server of the only model."""
    [server] = open_models(settings).servers
    return server.client.api_key


@pytest.mark.parametrize("name", ["FAST_KEY", "OPENAI_API_KEY"])
def test_the_message_about_an_invalid_key_names_its_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, f"{CANARY}\n")
    message = fault(key_env=name)
    assert message.startswith(f"{name}: holds white space")
    assert CANARY not in message


@pytest.mark.parametrize(("name", "entry"), [("OPENAI_API_KEY", {}), ("FAST_KEY_2", {"key_env": "FAST_KEY_2"})])
def test_a_byte_order_mark_hides_no_name_of_the_environment_file(name: str, entry: dict[str, str], bare: Path) -> None:
    (bare / ".env").write_text(f"{name}=sk-1\n", encoding="utf-8-sig")
    assert key_of(Settings.load({"CHAT_MODELS": {"o": {"kind": "openai", **entry}}})) == "sk-1"


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"])
def test_the_message_about_a_missing_key_names_its_variable(name: str) -> None:
    assert fault(key_env=name).startswith(
        f"CHAT_MODELS: models.one.key_env: {name} is not set; for example {name}=sk-…"
    )


@pytest.mark.parametrize("auth", ["entra", "none"])
def test_a_key_that_is_not_sent_may_be_missing(auth: str) -> None:
    assert table(a={"kind": "openai", "auth": auth})["a"].auth == auth


# -- one model, without a table


@pytest.mark.parametrize(
    ("given", "name", "fields"),
    [
        ({}, "mock", {"kind": "mock", "model": "mock"}),
        ({"OPENAI_API_KEY": "k"}, "gpt-5.4-mini", {"kind": "openai", "key_env": "OPENAI_API_KEY"}),
        (
            {"OPENAI_API_KEY": "k", "CHAT_MODEL": "gpt-x"},
            "gpt-x",
            {"kind": "openai", "key_env": "OPENAI_API_KEY"},
        ),
        (
            {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "CHAT_MODEL": "m"},
            "m",
            {"kind": "compatible", "base_url": "http://127.0.0.1:1/v1"},
        ),
        (
            {"AZURE_OPENAI_ENDPOINT": "https://a.example", "AZURE_OPENAI_DEPLOYMENT": "d", "OPENAI_API_KEY": "k"},
            "d",
            {"kind": "azure", "base_url": "https://a.example", "model": "d"},
        ),
        (
            {
                "AZURE_OPENAI_ENDPOINT": "https://a.example",
                "AZURE_OPENAI_API_KEY": "k",
                "AZURE_OPENAI_DEPLOYMENT": "d",
                "AZURE_OPENAI_API_VERSION": "2024-10-21",
                "CHAT_MODEL": "shown",
            },
            "shown",
            {
                "kind": "azure",
                "base_url": "https://a.example",
                "key_env": "AZURE_OPENAI_API_KEY",
                "model": "d",
                "api_version": "2024-10-21",
            },
        ),
        (
            {"AZURE_OPENAI_ENDPOINT": "https://a.example", "CHAT_MODEL": "d"},
            "d",
            {"kind": "azure", "base_url": "https://a.example", "model": "d"},
        ),
    ],
)
def test_the_settings_of_one_model_are_an_entry(given: dict[str, str], name: str, fields: dict[str, Any]) -> None:
    assert single_entry(Settings.load(given)) == (name, Entry(**fields))


def test_azure_without_a_deployment_stops_the_start() -> None:
    with pytest.raises(SettingsError, match=r"^AZURE_OPENAI_DEPLOYMENT: .*; for example AZURE_OPENAI_DEPLOYMENT=my-"):
        single_entry(Settings.load({"AZURE_OPENAI_ENDPOINT": "https://a.example", "AZURE_OPENAI_API_KEY": "k"}))


def test_a_setting_with_a_key_does_not_show_it() -> None:
    settings = Settings.load({"AZURE_OPENAI_API_KEY": CANARY, "CHAT_PROXY": f"http://u:{CANARY}@127.0.0.1:1"})
    assert settings.azure_api_key == SecretStr(CANARY)
    assert CANARY not in f"{settings!r} {settings.model_dump_json()}"
