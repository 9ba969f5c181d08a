"""What every test can count on: a clean environment, no address but loopback, and servers shared where they can be."""

from __future__ import annotations

import ipaddress
import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.examples import register_profiles
from tests.support.http_client import LongAnswers
from tests.support.raw_upstreams import RawUpstream
from tests.support.sampling import mark_unsampled
from tests.support.serving import FOREIGN, Servers

LOCAL_NAMES = ("", "localhost", "None")
REPEATED_ALARM_S = 5.0

register_profiles()  # before Hypothesis looks for the profile that the command line names


def pytest_configure(config: pytest.Config) -> None:
    """Forgets what the environment says to the app, before any module of it is imported."""
    for name in filter(FOREIGN.fullmatch, list(os.environ)):
        del os.environ[name]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what the fast run leaves out before `-m` selects, and put the slow tests last."""
    mark_unsampled(items)
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(settings: Any) -> Generator[None, Any, Any]:
    """Repeat the alarm of a test's timeout, because asyncio swallows one that is raised inside a callback."""
    result = yield
    if settings.method == "signal":
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, REPEATED_ALARM_S)
    return result


@pytest.fixture(autouse=True, scope="session")
def _away_from_env_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A developer's `.env` is not the tests' business."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("empty"))
    yield
    os.chdir(before)


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> None:
    """Fails whatever connects from this process, or looks a name up, beyond loopback."""
    sys.addaudithook(_check_address)


def _check_address(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        _check_host(arguments[0])
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        _check_host(arguments[1][0])


def _check_host(host: str | bytes | None) -> None:
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name not in LOCAL_NAMES and not _is_loopback(name):
        pytest.fail(f"a test reached for {name}, which is not on loopback")


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session")
def needs() -> Callable[[str], str]:
    """Finds a program's path; one that is missing skips the test by name, and fails it where `CI` is set."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None and os.environ.get("CI"):
            pytest.fail(f"{program} is not installed")
        return path or pytest.skip(f"{program} is not installed")

    return find


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Starts servers; when the session ends, no log and no received byte may hold a canary key or prompt."""
    running = Servers(tmp_path_factory.mktemp("server") for _ in itertools.count())
    yield running
    running.stop()
    assert running.canaries() == []


@pytest.fixture(scope="session")
def raw_upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def upstream(servers: Servers) -> str:
    """The base URL of the mock model in a process of its own, as fast as it can."""
    server = servers.get("mock", CHAT_MOCK_TOKENS_PER_S="0")
    return f"http://127.0.0.1:{server.port}/v1"


@pytest.fixture(scope="session")
def long_answers(servers: Servers, raw_upstream: RawUpstream) -> LongAnswers:
    return LongAnswers(servers, raw_upstream.base_url)


@pytest.fixture(autouse=True, scope="session")
def _begin_long_answers(request: pytest.FixtureRequest) -> None:
    """Where a slow test is among those to run, what it waits for begins at once."""
    if any("long_answers" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("long_answers")
