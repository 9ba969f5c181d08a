"""Makes an interpreter on Linux lack what Windows lacks: modules, socket options, and signals of the event loop."""

import asyncio
import socket
import sys
from typing import NoReturn

for name in ("fcntl", "grp", "pwd", "resource", "termios", "uvloop"):
    sys.modules[name] = None  # type: ignore[assignment]

del socket.TCP_USER_TIMEOUT


def _is_not_implemented(*_: object) -> NoReturn:
    raise NotImplementedError


asyncio.SelectorEventLoop.add_signal_handler = _is_not_implemented  # type: ignore[method-assign, assignment]
