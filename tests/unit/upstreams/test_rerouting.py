"""The transport of a test in place of the servers of models: tokens, keys and retries."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from quartapp.core.errors import SettingsError
from quartapp.mock import create_mock
from quartapp.models.config import read_table
from quartapp.settings.settings import Settings
from quartapp.upstreams.http.entra import EntraToken
from quartapp.upstreams.rerouting import PLUGIN, has_retries, is_rerouted, needs_keys, rerouted


class NoCredential:
    """A credential whose use fails the test."""

    async def get_token_info(self, *scopes: str) -> Any:
        raise AssertionError("a token was requested")

    async def close(self) -> None: ...


async def test_no_token_is_requested_in_a_test() -> None:
    token = EntraToken(NoCredential(), "scope")
    with rerouted(create_mock(0)):
        assert await token() == "unused"


def test_nothing_is_rerouted_after_an_exception() -> None:
    def fail() -> None:
        with rerouted(create_mock(0)):
            assert (is_rerouted(), needs_keys(), has_retries()) == (True, False, False)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert (is_rerouted(), needs_keys(), has_retries()) == (False, True, True)


def test_a_missing_key_stops_the_start_unless_the_plugin_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load({"CHAT_MODELS": {"fast": {"kind": "openai"}}})
    with pytest.raises(SettingsError, match="OPENAI_API_KEY is not set"):
        read_table(settings)
    monkeypatch.setitem(sys.modules, PLUGIN, ModuleType(PLUGIN))
    assert read_table(settings) is not None
