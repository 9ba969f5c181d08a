"""The way to a server: by proxies, of the settings and of the environment, and over TLS to those who can be trusted."""

from __future__ import annotations

import base64
import logging
import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from quart import Quart
from quart.testing.app import LifespanError

from quartapp import chat_blueprint
from quartapp.core.error_log import describe
from quartapp.core.errors import SettingsError
from quartapp.upstreams.http.servers import Address, Servers
from quartapp.upstreams.http.transport import ConnectionOptions
from tests.support.endpoints import serving
from tests.support.loopback import Loopback, reply
from tests.support.proxy import TunnelProxy
from tests.support.tls import AUTHORITY, LOCALHOST, TlsLoopback, ca_file
from tests.support.upstream_models import KEY, MIB, WHOLE, Endless, ask, failure, model_at, peak_bytes

OTHER_AUTHORITY = trustme.CA()
PASSWORD = "canary@pass word"
CREDENTIALS = "us%20er:canary%40pass%20word@"
AWAY, AWAY_TLS = "http://model.example/v1", "https://model.example/v1"
BASIC = f"Basic {base64.b64encode(f'us er:{PASSWORD}'.encode()).decode()}"


def away(server: Loopback) -> str:
    """Return the base URL of a server by a name that only a proxy resolves."""
    return re.sub(r"//[^:/]+", "//model.example", server.base_url)


@pytest.fixture
def trusted(tmp_path: Path) -> str:
    """Return the file of the authority that signed the certificates of TlsLoopback."""
    return ca_file(tmp_path)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)


# -- a proxy of the settings


async def test_a_server_without_tls_is_called_by_its_absolute_url() -> None:
    async with Loopback(reply(body=WHOLE)) as proxy, Loopback(reply()) as server:
        async with model_at(away(server), CHAT_PROXY=proxy.origin) as model:
            assert [await ask(model), await ask(model)] == ["a.", "a."]
        assert (proxy.connections, server.connections) == (1, 0)
        [request, _] = proxy.requests
    assert (request.method, request.target) == ("POST", f"{away(server)}/chat/completions")
    assert "proxy-authorization" not in request.headers


async def test_a_server_with_tls_is_called_through_a_tunnel(trusted: str) -> None:
    async with TunnelProxy() as proxy, TlsLoopback(reply(body=WHOLE)) as server:
        async with model_at(away(server), CHAT_PROXY=proxy.url(), CHAT_CA_FILE=trusted) as model:
            assert [await ask(model), await ask(model)] == ["a.", "a."]
        assert [(request.method, f"https://{request.target}/v1") for request in proxy.requests] == [
            ("CONNECT", away(server))
        ]
        assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {KEY}"] * 2
    assert KEY not in str(proxy.requests)
    assert KEY.encode() not in proxy.relayed


async def test_a_proxy_may_use_tls(trusted: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    LOCALHOST.configure_cert(context)
    async with TunnelProxy(context=context) as proxy, TlsLoopback(reply(body=WHOLE)) as server:
        async with model_at(away(server), CHAT_PROXY=proxy.url(), CHAT_CA_FILE=trusted) as model:
            assert await ask(model) == "a."
        assert len(proxy.requests) == 1


async def test_a_proxys_password_goes_to_the_proxy_alone(trusted: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with TunnelProxy() as proxy, TlsLoopback(reply(body=WHOLE)) as server:
            async with model_at(away(server), CHAT_PROXY=proxy.url(CREDENTIALS), CHAT_CA_FILE=trusted) as model:
                assert await ask(model) == "a."
            [tunnel], [request] = proxy.requests, server.requests
    assert tunnel.headers["proxy-authorization"] == BASIC
    assert "proxy-authorization" not in request.headers
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert PASSWORD not in caplog.text
    assert BASIC not in caplog.text


async def test_without_tls_a_proxys_password_has_a_header_of_its_own() -> None:
    async with Loopback(reply(body=WHOLE)) as proxy:
        url = proxy.origin.replace("//", f"//{CREDENTIALS}")
        async with model_at(AWAY, CHAT_PROXY=url) as model:
            assert await ask(model) == "a."
        headers = proxy.requests[0].headers
    assert (headers["proxy-authorization"], headers["authorization"]) == (BASIC, f"Bearer {KEY}")


REFUSALS = [301, 400, 403, 407, 429, 502, 503]


@pytest.mark.parametrize("status", REFUSALS)
async def test_a_tunnel_that_is_refused_is_an_upstream_error(
    status: int, trusted: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = b"HTTP/1.1 %d canary-reason\r\nProxy-Authenticate: Basic\r\nContent-Length: 6\r\n\r\ncanary" % status
    with caplog.at_level(logging.DEBUG):
        async with TunnelProxy(answer) as proxy, TlsLoopback(reply(body=WHOLE)) as server:
            async with model_at(away(server), CHAT_PROXY=proxy.url(CREDENTIALS), CHAT_CA_FILE=trusted) as model:
                error = await failure(model)
            assert (len(proxy.requests), server.connections) == (1, 0)
    assert describe(error, with_message=True) == {
        "error": "upstream_error",
        "causes": ["ClientHttpProxyError"],
        "upstream": {"status": status, "address": urlsplit(away(server)).netloc},
    }
    assert "canary" not in caplog.text


@pytest.mark.parametrize("status", [407, 502])
async def test_a_proxy_that_refuses_to_pass_a_request_on_is_an_upstream_error(status: int) -> None:
    async with Loopback(reply(status, b"canary", {"Proxy-Authenticate": "Basic"})) as proxy:
        async with model_at(AWAY, CHAT_PROXY=proxy.origin) as model:
            error = await failure(model)
        assert len(proxy.requests) == 1
    assert describe(error) == {"error": "upstream_error", "upstream": {"status": status}}


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\n\r\nno TLS at all", b"SSH-2.0-canary\r\n", b"HTTP/1.1 200"],
    ids=["silence", "no TLS behind it", "no proxy", "half an answer"],
)
async def test_a_proxy_that_leads_nowhere_times_out(answer: bytes, trusted: str) -> None:
    settings = {"CHAT_CA_FILE": trusted, "CHAT_CONNECT_TIMEOUT_S": 0.2}
    async with (
        TunnelProxy(answer) as proxy,
        model_at(AWAY_TLS, CHAT_PROXY=proxy.url(), **settings) as model,
    ):
        assert (await failure(model)).code == "upstream_error"


async def test_an_absent_proxy_is_an_upstream_error() -> None:
    async with TunnelProxy() as proxy:
        url = proxy.url()
    async with model_at(AWAY_TLS, CHAT_PROXY=url) as model:
        assert describe(await failure(model))["causes"][0] == "ClientProxyConnectionError"


@pytest.mark.parametrize(
    "piece", [b"A: aaaaaaaaaaaaaaaaaaaaaaa\r\n" * 1000, b"a" * 65_536], ids=["header lines", "a header"]
)
async def test_an_endless_head_of_a_proxy_is_an_upstream_error(piece: bytes) -> None:
    answer = Endless(b"HTTP/1.1 200 OK\r\nA: ", piece)
    async with Loopback(answer) as proxy, model_at(AWAY_TLS, CHAT_PROXY=proxy.origin) as model:
        assert await peak_bytes(model) < 8 * MIB
        await answer.left.wait()


@pytest.mark.parametrize(
    "url",
    ["socks5://canary:1", "http://user:canary@127.0.0.1:99999", "http://:80", "canary", "http://127.0.0.1:canary"],
)
async def test_an_invalid_proxy_stops_the_start_and_is_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^CHAT_PROXY: ") as raised:
        async with model_at(AWAY, CHAT_PROXY=url):
            pass
    assert "canary" not in str(raised.value)


# -- this machine


async def test_a_server_on_this_machine_is_called_directly_and_another_through_the_proxy() -> None:
    async with Loopback(reply(body=WHOLE)) as proxy, Loopback(reply(body=WHOLE)) as local:
        models = {
            name: {"kind": "compatible", "base_url": url} for name, url in (("far", AWAY), ("near", local.base_url))
        }
        async with serving(CHAT_MODELS=models, CHAT_PROXY=proxy.origin) as client:
            for name in models:
                assert (await client.ask({"message": "hi", "model": name})).body == b"a"
        assert [request.target for request in proxy.requests] == [f"{AWAY}/chat/completions"]
        assert (len(local.requests), local.connections) == (1, 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "127.0.0.2", "[::1]"])
async def test_names_and_addresses_of_this_machine_bypass_the_proxy(host: str) -> None:
    async with Loopback(reply(body=WHOLE)) as proxy:
        async with model_at(f"http://{host}:1/v1", CHAT_PROXY=proxy.origin) as model:
            assert (await failure(model)).code == "upstream_error"
        assert proxy.connections == 0


@pytest.mark.parametrize("host", ["localhost.example", "128.0.0.1", "10.0.0.1", "[::2]", "my-localhost", "0.0.0.0"])
async def test_any_other_address_goes_through_the_proxy(host: str) -> None:
    async with Loopback(reply(body=WHOLE)) as proxy:
        async with model_at(f"http://{host}:1/v1", CHAT_PROXY=proxy.origin) as model:
            assert await ask(model) == "a."
        assert proxy.requests[0].target == f"http://{host}:1/v1/chat/completions"


# -- a proxy of the environment


async def test_the_environments_proxy_is_used_only_if_a_setting_allows_it(
    trusted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TunnelProxy() as proxy, TlsLoopback(reply(body=WHOLE)) as server:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url(CREDENTIALS))
        for obeying in (False, True):
            settings = {"CHAT_OBEY_CLIENT_ENVIRONMENT": obeying, "CHAT_CA_FILE": trusted}
            async with model_at(server.base_url, **settings) as model:
                assert await ask(model) == "a."
            assert len(proxy.requests) == obeying
        assert proxy.requests[0].headers["proxy-authorization"] == BASIC


@pytest.mark.parametrize(
    ("environment", "is_used"),
    [
        ({"HTTP_PROXY": "{proxy}"}, True),
        ({"http_proxy": "{proxy}"}, True),
        ({"ALL_PROXY": "{proxy}"}, True),
        ({"HTTP_PROXY": "127.0.0.1:{port}"}, True),
        ({"HTTP_PROXY": ""}, False),
        ({"HTTPS_PROXY": "{proxy}"}, False),
        ({"HTTP_PROXY": "{proxy}", "NO_PROXY": "127.0.0.1"}, False),
        ({"HTTP_PROXY": "{proxy}", "NO_PROXY": "*"}, False),
        ({"HTTP_PROXY": "{proxy}", "NO_PROXY": "example.com"}, True),
    ],
)
async def test_the_environment_decides_what_goes_through_its_proxy(
    environment: dict[str, str], is_used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Loopback(reply(body=WHOLE)) as proxy, Loopback(reply(body=WHOLE)) as server:
        for name, value in environment.items():
            port = proxy.origin.rpartition(":")[2]
            monkeypatch.setenv(name, value.format(proxy=proxy.origin, port=port))
        async with model_at(server.base_url, CHAT_OBEY_CLIENT_ENVIRONMENT=True) as model:
            assert await ask(model) == "a."
        assert (proxy.connections, server.connections) == ((1, 0) if is_used else (0, 1))


async def test_the_settings_proxy_counts_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Loopback(reply(body=WHOLE)) as settings_proxy, Loopback(reply(body=WHOLE)) as environment_proxy:
        monkeypatch.setenv("HTTP_PROXY", environment_proxy.origin)
        settings = {"CHAT_PROXY": settings_proxy.origin, "CHAT_OBEY_CLIENT_ENVIRONMENT": True}
        async with model_at(AWAY, **settings) as model:
            assert await ask(model) == "a."
        assert (settings_proxy.connections, environment_proxy.connections) == (1, 0)


async def test_an_invalid_proxy_of_the_environment_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks5://canary:1080")
    with pytest.raises(SettingsError, match=r"^HTTP_PROXY") as raised:
        async with model_at("http://127.0.0.1:1/v1", CHAT_OBEY_CLIENT_ENVIRONMENT=True):
            pass
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("key", [KEY, None])
async def test_passwords_in_netrc_are_not_sent(
    key: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login canary-login password canary-password\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    settings = {"CHAT_OBEY_CLIENT_ENVIRONMENT": True, "OPENAI_API_KEY": key}
    async with Loopback(reply(body=WHOLE)) as server, model_at(server.base_url, **settings) as model:
        assert await ask(model) == "a."
        assert server.requests[0].headers.get("authorization") == (f"Bearer {KEY}" if key else None)


# -- whom to trust


async def test_a_private_authority_is_trusted_if_a_setting_names_it(trusted: str) -> None:
    async with TlsLoopback(reply(body=WHOLE)) as server, model_at(server.base_url, CHAT_CA_FILE=trusted) as model:
        assert await ask(model) == "a."


async def test_a_private_authority_is_trusted_in_addition_to_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's are those that OpenSSL would look up; here, of a file in their place."""
    system = tmp_path / "system.pem"
    AUTHORITY.cert_pem.write_to_path(system)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    bundle = ca_file(tmp_path, OTHER_AUTHORITY)
    for certificate in (LOCALHOST, OTHER_AUTHORITY.issue_cert("localhost")):
        async with (
            TlsLoopback(reply(body=WHOLE), certificate) as server,
            model_at(server.base_url, CHAT_CA_FILE=bundle) as model,
        ):
            assert await ask(model) == "a."


NOW = datetime.now(UTC)
UNTRUSTED = {
    "another authority's": OTHER_AUTHORITY.issue_cert("localhost", "model.example"),
    "another host's": AUTHORITY.issue_cert("other.example"),
    "an address's": AUTHORITY.issue_cert("127.0.0.1"),
    "one that has ended": AUTHORITY.issue_cert("localhost", "model.example", not_after=NOW - timedelta(days=1)),
    "one that has not begun": AUTHORITY.issue_cert("localhost", "model.example", not_before=NOW + timedelta(days=1)),
}


@pytest.mark.parametrize("kind", UNTRUSTED)
async def test_a_certificate_that_cannot_be_trusted_ends_it_before_the_key_is_sent(kind: str, trusted: str) -> None:
    async with TlsLoopback(reply(body=WHOLE), UNTRUSTED[kind]) as server:
        async with model_at(server.base_url, CHAT_CA_FILE=trusted) as model:
            error = await failure(model)
        assert server.requests == []
    assert describe(error)["causes"][:2] == ["ClientConnectorCertificateError", "SSLCertVerificationError"]


@pytest.mark.parametrize("kind", UNTRUSTED)
async def test_a_certificate_is_checked_behind_a_tunnel_too(kind: str, trusted: str) -> None:
    async with TunnelProxy() as proxy, TlsLoopback(reply(body=WHOLE), UNTRUSTED[kind]) as server:
        async with model_at(away(server), CHAT_PROXY=proxy.url(), CHAT_CA_FILE=trusted) as model:
            assert (await failure(model)).code == "upstream_error"
        assert (len(proxy.requests), server.requests) == (1, [])


async def test_without_the_setting_a_private_authority_is_not_trusted() -> None:
    async with TlsLoopback(reply(body=WHOLE)) as server, model_at(server.base_url) as model:
        assert describe(await failure(model))["causes"][0] == "ClientConnectorCertificateError"
        assert server.requests == []


CONTENTS: dict[str, bytes | None] = {
    "nothing there": None,
    "empty": b"",
    "no PEM": b"canary",
    "broken PEM": b"-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n",
    "a key": LOCALHOST.private_key_pem.bytes(),
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("kind", CONTENTS)
async def test_a_file_without_certificates_stops_the_start(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "authorities.pem"
    content = CONTENTS[kind]
    if content is not None:
        path.write_bytes(content)
    app = Quart("host", static_folder=None)
    settings: dict[str, Any] = {"OPENAI_BASE_URL": "https://127.0.0.1:1/v1", "CHAT_CA_FILE": str(path)}
    app.register_blueprint(chat_blueprint(settings=settings), url_prefix="/ai")
    with pytest.raises(LifespanError) as raised:
        async with app.test_app():
            pass
    message = str(raised.value)
    assert f'CHAT_CA_FILE: no certificates in PEM at "{path}"' in message
    assert "canary" not in message


async def test_a_directory_in_place_of_a_certificate_file_stops_the_start(tmp_path: Path) -> None:
    servers = Servers(ConnectionOptions(timeout_s=5, max_connections=1, keep_alive_s=5, ca_file=str(tmp_path)))
    with pytest.raises(SettingsError, match="CHAT_CA_FILE"):
        servers.at(Address("https://127.0.0.1:1/v1"))
