"""Tokens of Entra ID: stored, and renewed in time by one request, with scripted credentials and real ones."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import math
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from azure.core.credentials import AccessTokenInfo
from azure.core.exceptions import ClientAuthenticationError
from pydantic import SecretStr

from quartapp.core.error_log import describe
from quartapp.core.errors import ChatError, SettingsError
from quartapp.models.fallback import Candidate, FallbackModel
from quartapp.upstreams.chat_completions.model import ChatCompletionsModel
from quartapp.upstreams.http.entra import MARGIN_S, PAUSE_S, EntraToken, open_credential
from quartapp.upstreams.http.servers import Address, Server
from quartapp.upstreams.http.transport import AiohttpTransport, ConnectionOptions, open_trust
from quartapp.upstreams.parameters import Parameters
from tests.support.azure_upstream import DEPLOYMENT, VERSION, Azure, refusal
from tests.support.azure_upstream import WHOLE as AZURES
from tests.support.clock import FakeClock
from tests.support.endpoints import Client, serving
from tests.support.loopback import Exchange, Loopback, reply
from tests.support.scheduling import wait_all_tasks_blocked
from tests.support.serving import Servers
from tests.support.tls import TlsLoopback, ca_file
from tests.support.upstream_models import ask

SCOPE = "https://cognitiveservices.azure.com/.default"
LIFE_S = 3600
CANARY = "canary-token"


class Credential:
    """A credential with the tokens `canary-token-1`, `canary-token-2` and so on, each for an hour.

    It answers once `may_answer` is set, and raises `failure` if there is one. `scopes` has those of each call.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.failure: Exception | None = None
        self.refresh_on: int | None = None
        self.life_s = LIFE_S
        self.scopes: list[tuple[str, ...]] = []
        self.given = 0
        self.cancelled = 0
        self.closed = 0

    async def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        self.scopes.append(scopes)
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        self.given += 1
        return AccessTokenInfo(
            f"{CANARY}-{self.given}", int(self._clock.time()) + self.life_s, refresh_on=self.refresh_on
        )

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def credential(clock: FakeClock) -> Credential:
    return Credential(clock)


@pytest.fixture
async def token(credential: Credential, clock: FakeClock) -> AsyncIterator[EntraToken]:
    token = EntraToken(credential, SCOPE, now=clock.time)
    yield token
    await token.close()


async def failure(token: EntraToken) -> ChatError:
    with pytest.raises(ChatError) as raised:
        await token()
    return raised.value


# -- a token is kept, and renewed in time


async def test_the_credential_gets_the_scope_and_only_when_a_token_is_needed(
    credential: Credential, token: EntraToken
) -> None:
    assert credential.scopes == []
    assert await token() == "canary-token-1"
    assert credential.scopes == [(SCOPE,)]


async def test_a_token_is_reused_until_shortly_before_its_end(
    credential: Credential, token: EntraToken, clock: FakeClock
) -> None:
    await token()
    clock.advance(LIFE_S - MARGIN_S - 1)
    assert await token() == "canary-token-1"
    await wait_all_tasks_blocked()
    assert credential.given == 1


async def test_a_token_near_its_end_is_renewed_while_no_request_waits(
    credential: Credential, token: EntraToken, clock: FakeClock
) -> None:
    await token()
    clock.advance(LIFE_S - MARGIN_S)
    credential.may_answer.clear()
    assert [await token() for _ in range(3)] == ["canary-token-1"] * 3
    await wait_all_tasks_blocked()
    assert len(credential.scopes) == 2
    credential.may_answer.set()
    await wait_all_tasks_blocked()
    assert await token() == "canary-token-2"


async def test_a_token_that_names_an_earlier_time_is_renewed_then(
    credential: Credential, token: EntraToken, clock: FakeClock
) -> None:
    credential.refresh_on = int(clock.time()) + 1800
    await token()
    clock.advance(1799)
    await token()
    await wait_all_tasks_blocked()
    assert credential.given == 1
    clock.advance(1)
    await token()
    await wait_all_tasks_blocked()
    assert await token() == "canary-token-2"


async def test_a_token_that_names_a_time_too_late_is_renewed_before_its_end_all_the_same(
    credential: Credential, token: EntraToken, clock: FakeClock
) -> None:
    credential.refresh_on = int(clock.time()) + LIFE_S
    await token()
    clock.advance(LIFE_S - MARGIN_S)
    await token()
    await wait_all_tasks_blocked()
    assert await token() == "canary-token-2"


async def test_an_expired_token_is_not_used(credential: Credential, token: EntraToken, clock: FakeClock) -> None:
    await token()
    clock.advance(LIFE_S)
    assert await token() == "canary-token-2"


async def test_a_token_that_has_expired_on_arrival_is_a_failure(credential: Credential, token: EntraToken) -> None:
    credential.life_s = 0
    error = await failure(token)
    assert (error.code, error.__cause__) == ("upstream_error", None)


async def test_tokens_with_a_short_life_are_not_fetched_each_time(
    credential: Credential, token: EntraToken, clock: FakeClock
) -> None:
    credential.life_s = MARGIN_S // 2
    for _ in range(PAUSE_S):
        await token()
        await wait_all_tasks_blocked()
        clock.advance(1)
    assert credential.given == 1
    await token()
    await wait_all_tasks_blocked()
    assert credential.given == 2


# -- concurrent requests


async def test_concurrent_requests_fetch_one_token(credential: Credential, token: EntraToken) -> None:
    credential.may_answer.clear()
    tasks = [asyncio.ensure_future(token()) for _ in range(50)]
    await wait_all_tasks_blocked()
    credential.may_answer.set()
    assert await asyncio.gather(*tasks) == ["canary-token-1"] * 50
    assert len(credential.scopes) == 1


@pytest.mark.parametrize("cancelled", [0, 1], ids=["the one who began", "another"])
async def test_a_cancelled_request_does_not_cancel_the_token_of_the_others(
    cancelled: int, credential: Credential, token: EntraToken
) -> None:
    credential.may_answer.clear()
    tasks = [asyncio.ensure_future(token()) for _ in range(3)]
    await wait_all_tasks_blocked()
    tasks[cancelled].cancel()
    await wait_all_tasks_blocked()
    assert [each.done() for each in tasks] == [each == cancelled for each in range(3)]
    credential.may_answer.set()
    await wait_all_tasks_blocked()
    stayed = [each.result() for each in tasks if not each.cancelled()]
    assert (stayed, tasks[cancelled].cancelled()) == (["canary-token-1"] * 2, True)
    assert (credential.cancelled, len(credential.scopes)) == (0, 1)


async def test_a_token_is_fetched_although_its_requests_were_cancelled(
    credential: Credential, token: EntraToken
) -> None:
    credential.may_answer.clear()
    task = asyncio.ensure_future(token())
    await wait_all_tasks_blocked()
    task.cancel()
    await wait_all_tasks_blocked()
    credential.may_answer.set()
    await wait_all_tasks_blocked()
    assert await token() == "canary-token-1"
    assert len(credential.scopes) == 1


async def test_a_renewal_does_not_inherit_the_context_of_its_request(clock: FakeClock) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
    seen: list[str] = []

    class Looking(Credential):
        async def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
            seen.append(user.get())
            return await super().get_token_info(*scopes)

    user.set("alice")
    await EntraToken(Looking(clock), SCOPE, now=clock.time)()
    assert seen == ["nobody"]


# -- failures


async def test_a_failure_without_a_token_is_an_upstream_error_for_each_waiting_request(
    credential: Credential, token: EntraToken
) -> None:
    credential.failure = ClientAuthenticationError(CANARY)
    credential.may_answer.clear()
    tasks = [asyncio.ensure_future(failure(token)) for _ in range(3)]
    await wait_all_tasks_blocked()
    credential.may_answer.set()
    errors = await asyncio.gather(*tasks)
    assert {error.code for error in errors} == {"upstream_error"}
    assert {error.__cause__ for error in errors} == {credential.failure}
    assert len({id(error) for error in errors}) == 3
    assert len(credential.scopes) == 1


async def test_after_a_failure_without_a_token_the_next_request_fetches_one_at_once(
    credential: Credential, token: EntraToken
) -> None:
    credential.failure = ClientAuthenticationError(CANARY)
    await failure(token)
    credential.failure = None
    assert await token() == "canary-token-1"


async def test_a_failed_renewal_keeps_a_valid_token_and_waits_before_the_next(
    credential: Credential, token: EntraToken, clock: FakeClock
) -> None:
    await token()
    clock.advance(LIFE_S - MARGIN_S)
    credential.failure = ClientAuthenticationError(CANARY)
    for _ in range(PAUSE_S):
        assert await token() == "canary-token-1"
        await wait_all_tasks_blocked()
        clock.advance(1)
    assert len(credential.scopes) == 2
    await token()
    await wait_all_tasks_blocked()
    assert len(credential.scopes) == 3
    credential.failure = None
    clock.advance(PAUSE_S)
    await token()
    await wait_all_tasks_blocked()
    assert await token() == "canary-token-2"


async def test_a_token_that_expires_between_renewals_is_fetched_at_once(
    credential: Credential, token: EntraToken, clock: FakeClock
) -> None:
    await token()
    clock.advance(LIFE_S - 1)
    credential.failure = ClientAuthenticationError(CANARY)
    await token()
    await wait_all_tasks_blocked()
    clock.advance(1)
    assert (await failure(token)).code == "upstream_error"
    credential.failure = None
    assert await token() == "canary-token-2"


async def test_a_credential_that_never_answers_times_out(credential: Credential, clock: FakeClock) -> None:
    credential.may_answer.clear()
    error = await failure(EntraToken(credential, SCOPE, now=clock.time, timeout_s=0.01))
    assert describe(error) == {"error": "upstream_error", "causes": ["TimeoutError", "CancelledError"]}
    assert credential.cancelled == 1


async def test_a_credential_that_cancels_itself_is_a_failure_and_cancels_no_request(clock: FakeClock) -> None:
    class Broken(Credential):
        async def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
            raise asyncio.CancelledError

    assert (await failure(EntraToken(Broken(clock), SCOPE, now=clock.time))).code == "upstream_error"


# -- its end, and its errors


async def test_closing_ends_a_renewal_and_closes_the_credential(credential: Credential, clock: FakeClock) -> None:
    token = EntraToken(credential, SCOPE, now=clock.time)
    credential.may_answer.clear()
    task = asyncio.ensure_future(failure(token))
    await wait_all_tasks_blocked()
    await token.close()
    assert (credential.cancelled, credential.closed) == (1, 1)
    assert (await task).code == "upstream_error"


async def test_no_part_of_a_token_is_shown(
    credential: Credential, token: EntraToken, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await token()
        credential.failure = ClientAuthenticationError(CANARY)
        clock.advance(LIFE_S - MARGIN_S)
        await token()
        await wait_all_tasks_blocked()
        clock.advance(LIFE_S)
        error = await failure(token)
    texts = [repr(token), str(token), str(error), repr(error), str(describe(error, with_message=True)), caplog.text]
    assert [text for text in texts if CANARY in text] == []
    assert "ClientAuthenticationError" in caplog.text


# -- a retry gets the renewed token


async def test_between_two_tries_of_one_answer_the_token_is_renewed(credential: Credential, clock: FakeClock) -> None:
    token = EntraToken(credential, SCOPE, now=clock.time)

    async def busy_once(exchange: Exchange) -> None:
        clock.advance(LIFE_S)  # as if it had taken so long: the token has ended
        azure.then(AZURES)
        await refusal(429, {"code": "429", "message": "busy"}, {"Retry-After": "0"})(exchange)

    async with Azure(busy_once, version=None, tokens=lambda token: token.startswith(CANARY)) as azure:
        model = azure_model(azure, token)
        answering = FallbackModel([Candidate("ours", model, retries=1)], max_wait_s=1)
        assert await ask(answering) == "Guten Tag."
        sent = [request.headers["authorization"] for request in azure.requests]
        await model.server.close()
    await token.close()
    assert sent == ["Bearer canary-token-1", "Bearer canary-token-2"]


class AzureModel(ChatCompletionsModel):
    server: Server


def azure_model(azure: Azure, token: EntraToken) -> AzureModel:
    connecting = ConnectionOptions(timeout_s=5, max_connections=1, keep_alive_s=5)
    server = Server(Address(f"{azure.origin}/openai/v1", token=token), AiohttpTransport(connecting, open_trust(None)))
    model = AzureModel(server, Parameters(model=DEPLOYMENT, think_tags="none"))
    model.server = server
    return model


# -- the credentials of azure-identity

IDENTITY_SECRET = "canary-identity-secret"
CLIENT_SECRET = "canary-client-secret"


class Identity:
    """A token service that sends `canary-token-1`, `canary-token-2` and so on, each valid for `life_s`."""

    def __init__(self, life_s: int = LIFE_S) -> None:
        self._life_s = life_s
        self._ends: dict[str, int] = {}

    async def __call__(self, exchange: Exchange) -> None:
        token = f"{CANARY}-{len(self._ends) + 1}"
        self._ends[token] = math.ceil(time.time()) + self._life_s
        payload = {
            "access_token": token,
            "expires_on": str(self._ends[token]),
            "expires_in": self._life_s,
            "resource": SCOPE.removesuffix("/.default"),
            "token_type": "Bearer",
        }
        await reply(200, json.dumps(payload).encode(), {"Content-Type": "application/json"})(exchange)

    def knows(self, token: str) -> bool:
        """Return whether the token is one of these and has not expired, with a second for the transport."""
        return self._ends.get(token, 0) > time.time() - 1


@pytest.fixture(autouse=True)
def no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide every login of this machine from azure-identity."""
    for name in ("CLIENT_ID", "CLIENT_SECRET", "TENANT_ID", "AUTHORITY_HOST", "FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzurePowerShellCredential")


def log_in_at(identity: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment of an app with a managed identity."""
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{identity.origin}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", IDENTITY_SECRET)


def without_a_key(azure: Loopback, version: str | None = VERSION) -> dict[str, Any]:
    return {
        "AZURE_OPENAI_ENDPOINT": azure.origin,
        "AZURE_OPENAI_API_VERSION": version,
        "AZURE_OPENAI_DEPLOYMENT": DEPLOYMENT,
        "CHAT_RETRIES": 0,
    }


async def error_text(client: Client) -> str:
    return (await client.ask()).body.decode()


@pytest.mark.parametrize("version", [VERSION, None], ids=["dated", "v1"])
async def test_a_managed_identity_sends_azure_its_token_and_no_key(
    version: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    issuing = Identity()
    with caplog.at_level(logging.DEBUG):
        async with Loopback(issuing) as identity, Azure(version=version, tokens=issuing.knows) as azure:
            log_in_at(identity, monkeypatch)
            async with serving(**without_a_key(azure, version)) as client:
                assert identity.requests == []
                assert [await error_text(client) for _ in range(3)] == ["Guten Tag"] * 3
            [request] = identity.requests
    assert request.target == "/msi/token?api-version=2019-08-01&resource=https://cognitiveservices.azure.com"
    assert request.headers["x-identity-header"] == IDENTITY_SECRET
    assert "canary" not in caplog.text


async def test_models_with_a_scope_in_common_share_a_token_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    issuing = Identity()
    async with Loopback(issuing) as identity, Azure(version=None, tokens=issuing.knows) as azure:
        log_in_at(identity, monkeypatch)
        entry = {"kind": "azure", "base_url": azure.origin, "model": DEPLOYMENT}
        other = entry | {"entra_scope": "https://ai.azure.com/.default"}
        async with serving(CHAT_MODELS={"a": entry, "b": entry, "c": other}) as client:
            for name in "abc":
                assert (await client.ask({"message": "hi", "model": name})).status == 200
        assert [request.target.partition("resource=")[2] for request in identity.requests] == [
            "https://cognitiveservices.azure.com",
            "https://ai.azure.com",
        ]
        assert azure.connections == 2


async def test_a_user_assigned_identity_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Loopback(Identity()) as identity:
        log_in_at(identity, monkeypatch)
        monkeypatch.setenv("AZURE_CLIENT_ID", "of-the-environment")
        token = EntraToken(open_credential(None, obey_environment=False), SCOPE)
        await token()
        await token.close()
        [request] = identity.requests
    assert request.target.rpartition("client_id=")[2] == "of-the-environment"


@pytest.mark.slow
async def test_a_token_near_its_end_is_renewed_between_two_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    issuing = Identity(life_s=1)
    async with Loopback(issuing) as identity, Azure(tokens=issuing.knows) as azure:
        log_in_at(identity, monkeypatch)
        async with serving(**without_a_key(azure)) as client:
            while len(identity.requests) < 2:
                assert await error_text(client) == "Guten Tag"
            assert await error_text(client) == "Guten Tag"
        sent = [request.headers["authorization"] for request in azure.requests]
    assert (sent[0], sent[-1]) == ("Bearer canary-token-1", "Bearer canary-token-2")


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refused_identity_is_an_upstream_error_and_azure_gets_no_request(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = json.dumps({"error": "invalid_request", "error_description": "canary-detail"}).encode()
    async with Loopback(reply(status, refusal, {"Content-Type": "application/json"})) as identity, Azure() as azure:
        log_in_at(identity, monkeypatch)
        async with serving(**without_a_key(azure)) as client:
            refused = await client.ask(Accept="application/json")
        assert azure.connections == 0
    assert (refused.status, refused.error["code"]) == (502, "upstream_error")
    assert b"canary" not in refused.body
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("quartapp")]
    assert any("ClientAuthenticationError" in line for line in messages)
    assert [line for line in messages if "canary" in line] == []


async def test_a_disconnect_before_there_is_a_token_leaves_no_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has_request, left = asyncio.Event(), asyncio.Event()

    async def silence(exchange: Exchange) -> None:
        has_request.set()
        await exchange.client_leaves()
        left.set()

    async with Loopback(silence) as identity, Azure() as azure:
        log_in_at(identity, monkeypatch)
        async with serving(**without_a_key(azure)) as client:
            async with client.asking() as connection:
                await has_request.wait()
                await connection.disconnect()
            assert not left.is_set()  # another request may be the next to use the token
        await left.wait()
        assert (len(identity.requests), azure.connections) == (1, 0)


async def test_no_token_is_fetched_through_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    issuing = Identity()
    async with (
        Loopback(reply(502)) as proxy,
        Loopback(issuing) as identity,
        Azure(tokens=issuing.knows) as azure,
    ):
        log_in_at(identity, monkeypatch)
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.origin)
        async with serving(**without_a_key(azure)) as client:
            assert await error_text(client) == "Guten Tag"
        assert (proxy.connections, identity.connections) == (0, 1)


async def test_a_managed_identity_on_this_machine_is_called_without_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Loopback(reply(502)) as proxy, Loopback(Identity()) as identity:
        log_in_at(identity, monkeypatch)
        token = EntraToken(open_credential(SecretStr(proxy.origin), obey_environment=False), SCOPE)
        assert await token() == "canary-token-1"
        await token.close()
        assert proxy.connections == 0


async def test_a_login_with_az_replaces_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = {"accessToken": f"{CANARY}-1", "expires_on": int(time.time()) + LIFE_S, "tokenType": "Bearer"}
    az = tmp_path / "az"
    az.write_text(f"#!/bin/sh\necho '{json.dumps(token)}'\n")
    az.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    async with Azure(tokens=lambda token: token == f"{CANARY}-1") as azure, serving(**without_a_key(azure)) as client:
        assert await error_text(client) == "Guten Tag"


async def test_a_service_principal_of_the_environment_logs_in_over_tls(servers: Servers, tmp_path: Path) -> None:
    """The app runs in a process of its own, because azure-identity reads the system's authorities once."""
    issuing = Identity()
    async with TlsLoopback(issuing) as login, Azure(tokens=issuing.knows) as azure:
        # aiohttp reads SSL_CERT_FILE when it is imported.
        server = servers.start_fresh(
            "quartapp",
            **{name: str(value) for name, value in without_a_key(azure).items()},
            AZURE_CLIENT_ID="0a0a0a0a-0000-4000-8000-000000000000",
            AZURE_CLIENT_SECRET=CLIENT_SECRET,
            AZURE_TENANT_ID="0b0b0b0b-0000-4000-8000-000000000000",
            AZURE_AUTHORITY_HOST=login.origin,
            SSL_CERT_FILE=ca_file(tmp_path),
        )
        body = await asyncio.to_thread(post, server.port)
        [request] = login.requests
    assert body == "Guten Tag"
    assert request.target == "/0b0b0b0b-0000-4000-8000-000000000000/oauth2/v2.0/token"
    assert CLIENT_SECRET.encode() in request.body
    assert "canary" not in server.log_text()


def post(port: int) -> str:
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(f"http://127.0.0.1:{port}/api/stream", b'{"message": "hi"}', headers), timeout=20) as answer:
        return str(answer.read().decode())


# -- what stops the start


async def test_without_azure_identity_the_start_stops_and_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity.aio", None)
    with pytest.raises(SettingsError, match=r"AZURE_OPENAI_API_KEY.*pip install 'quartapp\[azure\]'"):
        open_credential(None, obey_environment=False)


async def test_with_a_key_azure_identity_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity.aio", None)
    async with Azure(key="k-1") as azure, serving(**without_a_key(azure), AZURE_OPENAI_API_KEY="k-1") as client:
        assert await error_text(client) == "Guten Tag"


@pytest.mark.parametrize(
    ("name", "value"),
    [("AZURE_AUTHORITY_HOST", "http://canary.example"), ("AZURE_TOKEN_CREDENTIALS", "canary")],
)
async def test_settings_that_azure_identity_refuses_stop_the_start(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="AZURE_") as raised:
        open_credential(None, obey_environment=False)
    assert "canary" not in str(raised.value)
