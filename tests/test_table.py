"""The table of models: what an entry may say, where it is read from, and what stops the start and how that is said."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from quartapp import Settings, SettingsError
from quartapp.models.table import Entry, read_table, single_entry

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
    """An empty directory and no setting in the environment, but the key that FILE names."""
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


def test_the_environment_may_hold_them_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_MODELS", json.dumps({"a": {"kind": "embedded"}}))
    assert list(read_table(Settings.load()) or ()) == ["a"]


def test_without_either_there_is_no_table() -> None:
    assert read_table(Settings.load()) is None


def test_both_at_once_stop_the_start() -> None:
    both = {"CHAT_MODELS": {"a": {"kind": "embedded"}}, "CHAT_MODELS_FILE": "models.toml"}
    with pytest.raises(SettingsError, match=r"^CHAT_MODELS_FILE: CHAT_MODELS is set too"):
        read_table(Settings.load(both))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read (FileNotFoundError)"),
        (b"\xff\xfe", "not TOML in UTF-8;"),
        (f'[models.a]\nkind = "{CANARY}'.encode(), "not TOML in UTF-8: "),
        (f"{CANARY} = 1".encode(), "everything in it is below [models]"),
        (b"", "everything in it is below [models]"),
        (b"models = 3", "no models"),
        (b"[models]", "no models"),
    ],
)
def test_a_file_that_holds_no_models_stops_the_start(content: bytes | None, told: str, bare: Path) -> None:
    if content is not None:
        (bare / "models.toml").write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        read_table(Settings.load({"CHAT_MODELS_FILE": "models.toml"}))
    assert str(raised.value).startswith(f"CHAT_MODELS_FILE: {told}")
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize("value", ["{", CANARY, "[1]", '"x"', "3"])
def test_what_is_no_mapping_of_models_stops_the_start(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_MODELS", value)
    with pytest.raises(SettingsError, match=r"^CHAT_MODELS: ") as raised:
        read_table(Settings.load())
    assert CANARY not in str(raised.value)


# -- what an entry may say

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown kind": ({"kind": CANARY}, "CHAT_MODELS: models.one.kind: "),
    "an unknown field": ({"temperature": 1}, "CHAT_MODELS: models.one.temperature: "),
    "a key in the table": ({"api_key": CANARY}, "CHAT_MODELS: models.one.api_key: "),
    "a key where its name belongs": ({"key_env": CANARY}, "CHAT_MODELS: models.one.key_env: no such variable"),
    "no URL": ({"base_url": f"ftp://{CANARY}"}, "CHAT_MODELS: models.one.base_url: "),
    "no server": ({"base_url": None}, "CHAT_MODELS: models.one: compatible needs a base_url"),
    "an endpoint without Azure's name": (
        {"kind": "azure", "base_url": None},
        "CHAT_MODELS: models.one: azure needs a base_url",
    ),
    "a server for the embedded model": ({"kind": "embedded"}, "CHAT_MODELS: models.one: the embedded model has no "),
    "a version of nobody": ({"api_version": "2024-10-21"}, "CHAT_MODELS: models.one: api_version is Azure's alone"),
    "a key that is to be sent and not there": ({"auth": "bearer"}, "CHAT_MODELS: models.one: a key is to be sent"),
    "text for a number": ({"retries": "1"}, "CHAT_MODELS: models.one.retries: "),
    "a negative number": ({"retries": -1}, "CHAT_MODELS: models.one.retries: "),
    "no time": ({"first_event_timeout_s": 0}, "CHAT_MODELS: models.one.first_event_timeout_s: "),
    "an endless time": ({"idle_timeout_s": float("inf")}, "CHAT_MODELS: models.one.idle_timeout_s: "),
    "a limit of nothing": ({"max_output_tokens": 0}, "CHAT_MODELS: models.one.max_output_tokens: "),
    "a header for the key": ({"headers": {"Authorization": CANARY}}, "CHAT_MODELS: models.one.headers: the key goes "),
    "a header of two lines": ({"headers": {"X-A": f"{CANARY}\r\nX-B: b"}}, "CHAT_MODELS: models.one.headers: names "),
    "a header without a name": ({"headers": {"": "b"}}, "CHAT_MODELS: models.one.headers: names "),
    "a header that is no text": ({"headers": {"X-A": 1}}, "CHAT_MODELS: models.one.headers.X-A: "),
    "the model among the parameters": ({"params": {"model": "m"}}, "CHAT_MODELS: models.one.params: "),
    "several answers": ({"params": {"n": 2}}, "CHAT_MODELS: models.one.params: "),
    "a stand-in that is not there": ({"fallbacks": ["two"]}, "CHAT_MODELS: models.one.fallbacks: "),
    "a stand-in for itself": ({"fallbacks": ["one"]}, "CHAT_MODELS: models.one.fallbacks: "),
    "a time that can never be over": (
        {"first_event_timeout_s": 181},
        "CHAT_MODELS: models.one.first_event_timeout_s: over CHAT_FIRST_EVENT_TIMEOUT_S",
    ),
    "nothing that is offered": ({"offered": False}, "CHAT_MODELS: none of the models is offered"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_entry_is_told_by_its_place_without_its_value(kind: str) -> None:
    fields, told = WRONG[kind]
    assert fault(**fields).startswith(told)
    assert CANARY not in fault(**fields)


def test_an_embedded_model_that_does_not_exist_stops_the_start() -> None:
    with pytest.raises(SettingsError, match=r"^CHAT_MODELS: models.a.model: not one of the embedded server"):
        table(a={"kind": "embedded", "model": "nobody"})


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201])
def test_a_name_that_nobody_can_ask_by_stops_the_start(name: str) -> None:
    with pytest.raises(SettingsError, match="a name has 1 to 200 characters"):
        table(**{name: {"kind": "embedded"}})


def test_a_stand_in_is_named_once() -> None:
    local = {"kind": "embedded"}
    with pytest.raises(SettingsError, match=r"^CHAT_MODELS: models.a.fallbacks: "):
        table(a={"kind": "embedded", "fallbacks": ["b", "b"]}, b=local)


# -- keys


def test_a_key_may_stand_in_the_environment_file(bare: Path) -> None:
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
    with pytest.raises(SettingsError, match=r"^CHAT_MODELS: models.a.key_env: no such variable"):
        table(a={"kind": "openai"})


@pytest.mark.parametrize("auth", ["entra", "none"])
def test_a_key_that_is_not_to_be_sent_need_not_be_there(auth: str) -> None:
    assert table(a={"kind": "openai", "auth": auth})["a"].auth == auth


# -- one model, without a table


@pytest.mark.parametrize(
    ("given", "name", "fields"),
    [
        ({}, "embedded", {"kind": "embedded", "model": "embedded"}),
        ({"OPENAI_API_KEY": "k"}, "gpt-5.4-mini", {"kind": "openai"}),
        ({"OPENAI_API_KEY": "k", "CHAT_MODEL": "gpt-x"}, "gpt-x", {"kind": "openai"}),
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
                "AZURE_OPENAI_DEPLOYMENT": "d",
                "AZURE_OPENAI_API_VERSION": "2024-10-21",
                "CHAT_MODEL": "shown",
            },
            "shown",
            {"kind": "azure", "base_url": "https://a.example", "model": "d", "api_version": "2024-10-21"},
        ),
    ],
)
def test_the_settings_of_one_model_are_an_entry(given: dict[str, str], name: str, fields: dict[str, Any]) -> None:
    assert single_entry(Settings.load(given)) == (name, Entry(**fields))


def test_a_setting_that_holds_a_key_does_not_show_it() -> None:
    settings = Settings.load({"AZURE_OPENAI_API_KEY": CANARY, "CHAT_PROXY": f"http://u:{CANARY}@127.0.0.1:1"})
    assert settings.azure_api_key == SecretStr(CANARY)
    assert CANARY not in f"{settings!r} {settings.model_dump_json()}"
