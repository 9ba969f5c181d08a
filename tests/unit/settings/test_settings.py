"""The settings: their sources, the messages that stop the start, and the pages that list them all."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from quart import Quart
from quart.testing.app import LifespanError

from quartapp import Settings, SettingsError, chat_blueprint
from quartapp.blueprint import running_chats
from quartapp.settings.server import ServerSettings
from quartapp.settings.urls import ServerUrl

ROOT = Path(__file__).parents[3]
CLASSES: tuple[type[Settings] | type[ServerSettings], ...] = (Settings, ServerSettings)
FIELDS = {name: cls.model_fields[field] for cls in CLASSES for name, field in cls.names().items()}
NUMBERS = {name: field for name, field in FIELDS.items() if field.annotation in (int, float)}

CANARY = "canary-7f3a"


def loads(name: str, value: Any) -> Settings | ServerSettings:
    cls = Settings if name in Settings.names() else ServerSettings
    return cls.load({name: value})


def value_of(settings: Settings | ServerSettings, name: str) -> Any:
    return getattr(settings, {**Settings.names(), **ServerSettings.names()}[name])


def limits_of(field: FieldInfo) -> dict[str, Any]:
    """Return the field's constraints by pydantic's names: ge, gt, le, lt, max_length."""
    names = ("ge", "gt", "le", "lt", "max_length")
    return {
        name: limit for part in field.metadata for name in names if (limit := getattr(part, name, None)) is not None
    }


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Remove all settings from the environment and change to an empty directory, for a `.env` of the test."""
    for name in [*os.environ]:
        if name in FIELDS or name.startswith(("CHAT_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- what counts


async def test_an_argument_counts_before_the_app_that_before_the_environment_that_before_the_file(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("CHAT_MAX_MESSAGES", "CHAT_MAX_JSON_DEPTH", "CHAT_STATUS_TIMEOUT_S", "CHAT_KEEP_ALIVE_S")
    given: list[dict[str, Any]] = [dict.fromkeys(names[: 4 - step], 10 + step) for step in range(4)]
    in_file, in_environment, in_app, in_argument = given
    (bare / ".env").write_text("".join(f"{name}={value}\n" for name, value in in_file.items()))
    for name, value in in_environment.items():
        monkeypatch.setenv(name, str(value))
    settings = await started(argument=in_argument, config=in_app)
    assert [value_of(settings, name) for name in names] == [13, 12, 11, 10]


async def started(argument: Mapping[str, Any] | None = None, config: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of a blueprint in a host app."""
    app = Quart("host", static_folder=None)
    app.config.from_mapping(config or {})
    blueprint = chat_blueprint(settings=argument)
    app.register_blueprint(blueprint, url_prefix="/ai")
    async with app.test_app():
        return running_chats(app)[blueprint].settings


SOURCES = ("argument", "app", "environment", "file")
TABLE = '{"a": {"kind": "mock"}}'


async def given_by(bare: Path, monkeypatch: pytest.MonkeyPatch, **given: Mapping[str, str]) -> Settings:
    """Return the settings of a blueprint with these sources."""
    for name, value in given.get("environment", {}).items():
        monkeypatch.setenv(name, value)
    (bare / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in given.get("file", {}).items()))
    (bare / "models.toml").write_text('[models.filed]\nkind = "mock"\n')
    return await started(given.get("argument"), given.get("app"))


@pytest.mark.parametrize(("first", "later"), [*itertools.combinations(SOURCES, 2)])
@pytest.mark.parametrize(
    ("counts", "ignored"),
    [
        ({"CHAT_MODELS": TABLE}, {"CHAT_MODELS_FILE": "models.toml", "CHAT_MODEL": "filed"}),
        ({"CHAT_MODELS_FILE": "models.toml"}, {"CHAT_MODELS": TABLE, "CHAT_MODEL": "a"}),
        ({"CHAT_MODELS_FILE": "models.toml"}, {"CHAT_MODELS": "{", "CHAT_MODEL": "x" * 201}),
        ({"CHAT_MODELS": TABLE, "CHAT_MODEL": "a"}, {"CHAT_MODELS_FILE": "nowhere.toml", "CHAT_MODEL": "filed"}),
    ],
)
async def test_a_table_counts_before_the_models_of_later_sources(
    counts: dict[str, str],
    ignored: dict[str, str],
    first: str,
    later: str,
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = await given_by(bare, monkeypatch, **{first: {**counts, "CHAT_STATUS_TIMEOUT_S": ""}, later: ignored})
    models = json.loads(TABLE) if "CHAT_MODELS" in counts else None
    assert (settings.models, settings.models_file) == (models, counts.get("CHAT_MODELS_FILE"))
    assert settings.model == counts.get("CHAT_MODEL")


@pytest.mark.parametrize("source", SOURCES)
async def test_two_tables_of_one_source_stop_the_start(
    source: str, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LifespanError, match="CHAT_MODELS_FILE: CHAT_MODELS is set too"):
        await given_by(bare, monkeypatch, **{source: {"CHAT_MODELS": TABLE, "CHAT_MODELS_FILE": "models.toml"}})


async def test_a_default_counts_before_a_later_table(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = '{"a": {"kind": "mock"}, "b": {"kind": "mock"}}'
    settings = await given_by(bare, monkeypatch, argument={"CHAT_MODEL": "b"}, environment={"CHAT_MODELS": two})
    assert (settings.model, list(settings.models or ())) == ("b", ["a", "b"])


async def test_an_empty_table_of_an_earlier_source_hides_nothing(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = {"CHAT_MODELS": "", "CHAT_MODELS_FILE": ""}
    settings = await given_by(
        bare, monkeypatch, argument=empty, environment=empty, file={"CHAT_MODELS": TABLE, "CHAT_MODEL": "a"}
    )
    assert (settings.models, settings.model) == (json.loads(TABLE), "a")


async def test_a_key_of_a_later_source_counts_for_a_table(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"CHAT_MODELS": '{"a": {"kind": "openai"}}'}
    settings = await given_by(bare, monkeypatch, argument=given, environment={"OPENAI_API_KEY": CANARY})
    assert settings.openai_api_key == SecretStr(CANARY)


@pytest.mark.parametrize("name", FIELDS)
def test_an_empty_value_means_unset(name: str, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = FIELDS[name].default
    (bare / ".env").write_text(f"{name}=\n")
    assert value_of(loads(name, ""), name) == default
    monkeypatch.setenv(name, "")
    assert value_of(loads(name, None), name) == default


@pytest.mark.parametrize("name", FIELDS)
def test_an_empty_value_lets_the_next_source_count(name: str, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = (FIELDS[name].examples or [""])[0]
    monkeypatch.setenv(name, example)
    assert value_of(loads(name, ""), name) == value_of(loads(name, example), name)
    monkeypatch.setenv(name, "")
    (bare / ".env").write_text(f"{name}={example}\n", encoding="utf-8")
    assert value_of(loads(name, ""), name) == value_of(loads(name, example), name)


async def test_a_hosts_own_names_do_not_matter(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / ".env").write_text("DATABASE_URL=postgres://x\nSECRET_KEY='a b'\nHOST=!\nPORT=none\nexport X=1\nY\n")
    monkeypatch.setenv("CHATTER", "1")
    monkeypatch.setenv("PORT", "none")
    assert await started(config={"PORT": "none", "HOST": 1, "CHATTY": True, "MAX_MESSAGES": 3}) == Settings()


async def test_the_servers_names_in_an_argument_are_ignored() -> None:
    assert await started({"HOST": "nowhere", "PORT": "none"}) == Settings()


# -- what stops the start


@pytest.mark.parametrize("source", ["argument", "app"])
async def test_an_unknown_chat_name_in_an_argument_or_app_config_stops_the_start(source: str) -> None:
    unknown = {"CHAT_MODLE": CANARY}
    with pytest.raises(
        LifespanError, match=r"CHAT_MODLE: not a setting, perhaps CHAT_MODEL is meant; .* CHAT_MODEL=mock$"
    ) as raised:
        await started(unknown if source == "argument" else None, unknown if source == "app" else None)
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("status_timeout_s", ", perhaps CHAT_STATUS_TIMEOUT_S is meant"),
        ("CHAT_STATUS_TIMEOUT", ", perhaps CHAT_STATUS_TIMEOUT_S is meant"),
        ("MODEL", ", perhaps CHAT_MODEL is meant"),
        ("CHAT_ROOM", ""),
        ("colour", ""),
    ],
)
async def test_an_unknown_argument_stops_the_start_and_names_the_nearest_setting(name: str, suggestion: str) -> None:
    with pytest.raises(LifespanError, match=f"{name}: not a setting{suggestion}; docs/reference/settings.md"):
        await started({name: 3})


@pytest.mark.parametrize("source", ["environment", "file"])
@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("CHAT_ROOM", ""),
        ("CHAT_MODLE", ", perhaps CHAT_MODEL is meant"),
        ("Chat_Model", ", perhaps CHAT_MODEL is meant"),
    ],
)
async def test_an_unknown_chat_name_around_the_app_is_a_warning_because_the_host_may_own_it(
    source: str,
    name: str,
    suggestion: str,
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if source == "environment":
        monkeypatch.setenv(name, CANARY)
    else:
        (bare / ".env").write_text(f"{name}={CANARY}\n")
    assert await started() == Settings()
    [warning, mock] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert mock.message.endswith("the mock model answers")
    assert warning.message == f"{name}: not a setting of quartapp{suggestion}; ignored"


async def test_two_chats_of_an_app_warn_of_an_unknown_name_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CHAT_ROOM", CANARY)
    app = Quart("host", static_folder=None)
    for name in ("one", "other"):
        app.register_blueprint(chat_blueprint(name), url_prefix=f"/{name}")
    async with app.test_app():
        assert caplog.text.count("CHAT_ROOM") == 1


async def test_an_env_file_that_is_not_utf_8_stops_the_start(bare: Path) -> None:
    (bare / ".env").write_bytes(b"CHAT_MODEL=\xff\n")
    with pytest.raises(LifespanError, match=r"\.env: not UTF-8"):
        await started()


def is_url(field: FieldInfo) -> bool:
    return bool(field.annotation == (ServerUrl | None))


def wrong_values() -> Iterator[Any]:
    for name, field in FIELDS.items():
        limits = limits_of(field)
        if name in NUMBERS:
            yield from (pytest.param(name, wrong, id=f"{name}={wrong}") for wrong in (CANARY, "nan", "inf", "-inf"))
        if field.annotation is bool:
            yield pytest.param(name, CANARY, id=f"{name}={CANARY}")
        if is_url(field):
            yield pytest.param(name, f"ftp://{CANARY}", id=f"{name}=ftp://…")
            yield pytest.param(name, f"localhost:{CANARY}", id=f"{name}=localhost:…")
            yield pytest.param(name, f"http://{CANARY}@127.0.0.1", id=f"{name}=http://…@…")
        if "max_length" in limits:
            yield pytest.param(name, (CANARY * 100)[: limits["max_length"] + 1], id=f"{name}=too long")
        for bound, beyond in (("ge", -1), ("gt", 0), ("le", 1), ("lt", 0)):
            if bound in limits:
                yield pytest.param(name, str(limits[bound] + beyond), id=f"{name} beyond {bound}")


@pytest.mark.parametrize(("name", "wrong"), list(wrong_values()))
def test_an_invalid_value_is_reported_with_its_name_the_fault_and_an_example(name: str, wrong: str) -> None:
    with pytest.raises(SettingsError) as raised:
        loads(name, wrong)
    example = (FIELDS[name].examples or [""])[0]
    message = re.fullmatch(r"(?P<name>\w+): (?P<fault>[^;]{8,}); for example (?P<example>.+)", str(raised.value))
    assert message is not None
    assert (message["name"], message["example"]) == (name, f"{name}={example}")
    assert CANARY not in str(raised.value)
    assert "^" not in message["fault"]
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("name", ["CHAT_SYSTEM_PROMPT", "CHAT_MODEL", "AZURE_OPENAI_DEPLOYMENT", "HOST"])
def test_bytes_of_the_environment_that_are_not_utf_8_stop_the_start(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, os.fsdecode(f"R\xe9pondez {CANARY}".encode("latin-1")))
    with pytest.raises(
        SettingsError, match=f"^{name}: half of a character, or not UTF-8; for example {name}="
    ) as raised:
        loads(name, None)
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if is_url(field)])
def test_a_url_without_a_scheme_is_reported_as_such(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: has to begin with http:// or https://; for example {name}=http"):
        loads(name, "localhost:11434")


def test_a_byte_order_mark_before_the_first_name_in_the_file_is_skipped(bare: Path) -> None:
    (bare / ".env").write_text("CHAT_MODEL=first\nCHAT_RETRIES=3\n", encoding="utf-8-sig")
    settings = Settings.load()
    assert (settings.model, settings.retries) == ("first", 3)


@pytest.mark.parametrize("name", FIELDS)
def test_the_example_of_a_setting_is_a_right_value(name: str) -> None:
    example = (FIELDS[name].examples or [""])[0]
    assert example
    assert value_of(loads(name, example), name) is not None


@pytest.mark.parametrize("name", NUMBERS)
def test_the_limits_of_a_number_are_right_values(name: str) -> None:
    limits = limits_of(NUMBERS[name])
    assert {"le"} < limits.keys()
    for bound in ("ge", "le"):
        if bound in limits:
            assert value_of(loads(name, str(limits[bound])), name) == limits[bound]


def test_the_command_line_reports_an_invalid_setting_in_one_line_and_ends(bare: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "CHAT_STATUS_TIMEOUT_S": CANARY}
    command = [sys.executable, "-m", "quartapp"]
    ended = subprocess.run(command, cwd=bare, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(
        r"quartapp cannot start\. CHAT_STATUS_TIMEOUT_S: [^\n]+; for example CHAT_STATUS_TIMEOUT_S=10\n", ended.stderr
    )
    assert CANARY not in ended.stderr


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"])
def test_a_key_is_found_by_the_name_of_its_setting_or_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", CANARY)
    assert Settings.load({name: "sk-1"}).key(name) == SecretStr("sk-1")
    assert Settings.load({name: "sk-1"}).key("OTHER_KEY") == SecretStr(CANARY)


def test_a_key_shows_in_no_form_of_the_settings() -> None:
    settings = Settings.load({"OPENAI_API_KEY": CANARY})
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == CANARY
    assert CANARY not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("given", "mock"),
    [({}, True), ({"OPENAI_API_KEY": "k"}, False), ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, False)],
)
def test_the_mock_model_answers_only_without_key_and_server(given: dict[str, str], mock: bool) -> None:
    assert Settings.load(given).is_mock is mock


# -- the pages that list them all

UNITS = {
    "tokens_per_s": "tokens a second",
    "_s": "seconds",
    "_bytes": "bytes",
    "_chars": "characters",
    "_tokens": "tokens",
}


def kind(name: str, field: FieldInfo) -> str:
    if name in NUMBERS:
        return next((unit for suffix, unit in UNITS.items() if name.lower().endswith(suffix)), "number")
    if field.annotation is bool:
        return "true or false"
    if field.annotation == tuple[str, ...]:
        return "list"
    if name == "CHAT_MODELS":
        return "mapping"
    return "text, secret" if field.annotation == SecretStr | None else "text"


def limits_in_words(field: FieldInfo) -> str:
    limits = limits_of(field)
    if is_url(field):
        return "http:// or https://, a host, a port, a path"
    if "max_length" in limits:
        return f"up to {limits['max_length']} characters"
    low = f"{limits['ge']} to " if "ge" in limits else f"above {limits['gt']}, up to " if "gt" in limits else ""
    return f"{low}{limits['le']}" if "le" in limits else ""


def default_in_words(field: FieldInfo) -> str:
    if field.default in (None, ()):
        return "unset"
    return f"`{str(field.default).lower() if field.annotation is bool else field.default}`"


def description(field: FieldInfo) -> str:
    """Return the docstring of the field on one line."""
    return " ".join((field.description or "").split())


def rows(cls: type[Settings] | type[ServerSettings]) -> str:
    """Return the table of a class's settings that docs/reference/settings.md must contain."""
    lines = ["| name | default | unit or type | limits | what it does |", "|---|---|---|---|---|"]
    for name in cls.names():
        field = FIELDS[name]
        cells = (f"`{name}`", default_in_words(field), kind(name, field), limits_in_words(field), description(field))
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_page_of_settings_has_their_table(cls: type[Settings] | type[ServerSettings]) -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| name \|.*?(?=\n\n|\Z)", page.rstrip() + "\n\n", re.MULTILINE | re.DOTALL)
    assert rows(cls) == tables[CLASSES.index(cls)]


def examples() -> Iterator[str]:
    """Return the lines of `.env.example`: each setting off, at its default, or at an example if it has none."""
    for name, field in FIELDS.items():
        default = str(field.default).lower() if field.annotation is bool else field.default
        yield f"# {description(field)}"
        yield f"#{name}={(field.examples or [''])[0] if default in (None, ()) else default}"


def test_the_example_of_an_environment_file_has_each_setting_once() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    head, _, settings = text.partition("\n\n")
    assert all(line.startswith("# ") for line in head.splitlines())
    assert [line for line in settings.splitlines() if line] == list(examples())


def test_an_environment_file_with_every_example_switched_on_is_a_right_one(bare: Path) -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    (bare / ".env").write_text(re.sub(r"^#(?! )", "", text, flags=re.MULTILINE), encoding="utf-8")
    assert Settings.load().openai_base_url == "http://127.0.0.1:11434/v1"
    assert ServerSettings.load() == ServerSettings()
