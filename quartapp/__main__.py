"""The command line: `quartapp` or `python -m quartapp` serves the chat; with `mock`, only the mock model."""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hypercorn.config import Config, Sockets
from hypercorn.utils import LifespanFailureError

from quartapp import __version__, create_app
from quartapp.blueprint import running_chats
from quartapp.core.errors import SettingsError
from quartapp.mock import create_mock
from quartapp.process import allow_open_files, freeze_loaded_objects
from quartapp.server import serve
from quartapp.settings.server import MAX_PORT, ServerSettings
from quartapp.settings.settings import Settings

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

log = logging.getLogger("quartapp")

# The exit status that a shell reports for a program that SIGINT ended.
INTERRUPTED = 128 + signal.SIGINT

# Seconds for the server to end the open answers, send their last bytes and close.
CLOSE_S = 5

# The server's limit of a body is larger by this than the app's, so that the app's own refusal comes first.
BODY_SPARE_BYTES = 2**18

# Quart's default, which the mock model keeps.
MOCK_MAX_BODY_BYTES = 2**24


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` name until a signal ends it. Return 0, 2 if it cannot start, or 130."""
    options = vars(_parser().parse_args(arguments))
    try:
        listen = ServerSettings.load({"HOST": options.get("host"), "PORT": options.get("port")})
        settings = Settings.load()
        config = _Config(listen, settings.user_timeout_ms)
        allow_open_files(settings.max_open_streams)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
            runner.run(_run_mock(config, settings) if options["command"] == "mock" else _run_chat(config, settings))
    except SettingsError as error:
        return _cannot_start(str(error))
    except LifespanFailureError as error:  # because the app's start failed
        return _cannot_start(str(error.__context__ if isinstance(error.__context__, SettingsError) else error))
    except KeyboardInterrupt:
        return INTERRUPTED  # because the signal came before its handler was set
    except (OSError, UnicodeError) as error:
        return _cannot_start(_listening_fault(error, listen, config.bind[0]))
    return 0


def _listening_fault(error: OSError | UnicodeError, listen: ServerSettings, bind: str) -> str:
    """Return an error message for a server that cannot listen at `bind`: the setting, its fault and an example."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"HOST: {listen.host} cannot be resolved; for example HOST=127.0.0.1"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"HOST: {listen.host} is not an address of this machine; for example HOST=127.0.0.1"
    other = listen.port + 1 if listen.port < MAX_PORT else listen.port - 1
    return f"{bind}: {error.strerror}; another port: PORT={other}"


def _cannot_start(why: str) -> int:
    sys.stderr.write(f"quartapp cannot start. {why}\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    # Without defaults, because a command's defaults would replace options that come before the command.
    listen = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    listen.add_argument("--host", help="address to listen on (default: HOST, or 127.0.0.1)")
    listen.add_argument("--port", help="port to listen on (default: PORT, or 8000)")
    parser = argparse.ArgumentParser(prog="quartapp", description=__doc__, parents=[listen])
    parser.add_argument("--version", action="version", version=f"quartapp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("run", parents=[listen], help="serve the chat and its page (the default)")
    commands.add_parser("mock", parents=[listen], help="serve the mock model as an OpenAI-compatible server")
    return parser


async def _run_chat(config: Config, settings: Settings) -> None:
    app = create_app()

    async def end_answers() -> None:
        await asyncio.gather(*(chat.shut_down() for chat in running_chats(app).values()))

    await _serve(app, config, settings.max_body_bytes, end_answers)


async def _run_mock(config: Config, settings: Settings) -> None:
    async def nothing() -> None: ...

    for sentence in Settings.unknown_around():
        log.warning("%s", sentence)
    await _serve(create_mock(settings.mock_tokens_per_s), config, MOCK_MAX_BODY_BYTES, nothing)


async def _serve(app: Any, config: Config, max_body_bytes: int, before_closing: Callable[[], Awaitable[None]]) -> None:
    """Serve `app` until SIGINT or SIGTERM. Cancel connections that are open CLOSE_S after the signal."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        _on_signal(loop, number, stop.set)
    loop.set_exception_handler(_ignore_lost_peers)
    serving = asyncio.current_task()

    async def until_stopped() -> None:
        freeze_loaded_objects()  # here, because the server calls this function once it has started
        await stop.wait()
        if serving is not None:
            loop.call_later(CLOSE_S, serving.cancel)
        await before_closing()

    try:
        await serve(app, config, shutdown_trigger=until_stopped, max_body_bytes=max_body_bytes + BODY_SPARE_BYTES)
    except asyncio.CancelledError:
        if not stop.is_set():
            raise


def _on_signal(loop: asyncio.AbstractEventLoop, number: signal.Signals, callback: Callable[[], None]) -> None:
    """Call `callback` in `loop` when the process gets the signal, also on Windows, whose loops have no handlers."""
    try:
        loop.add_signal_handler(number, callback)
    except NotImplementedError:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))


def _ignore_lost_peers(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log nothing for a connection that TCP_USER_TIMEOUT ended, because hypercorn 0.18 does not handle its error."""
    if not isinstance(context.get("exception"), TimeoutError):
        loop.default_exception_handler(context)


class _Config(Config):
    """The configuration of hypercorn: HTTP/1.1 on one address, and `user_timeout_ms` for peers that read nothing.

    A proxy should serve HTTP/2, because hypercorn 0.18 has neither backpressure nor aborted bodies there.
    """

    def __init__(self, listen: ServerSettings, user_timeout_ms: int) -> None:
        super().__init__()
        self.bind = [listen.bind]
        self.alpn_protocols = ["http/1.1"]
        self._user_timeout_ms = user_timeout_ms

    def create_sockets(self) -> Sockets:
        sockets = super().create_sockets()
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            for sock in [*sockets.secure_sockets, *sockets.insecure_sockets]:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._user_timeout_ms)
        return sockets


if __name__ == "__main__":
    sys.exit(main())
