"""URLs of servers: which can be asked, which are the same, and which are of this machine."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator

_USUAL_PORTS = {"http": 80, "https": 443}


def is_server(url: str) -> bool:
    """Whether `url` can be asked: http or https, a host that can be looked up, and a port if there is one."""
    try:
        parts = urlsplit(url)
        _check_host(parts)
        is_whole = parts.scheme in _USUAL_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # UnicodeError is one
        return False
    return is_whole and url.isprintable() and not {" ", "\\"} & set(url)


def is_same_server(one: str, other: str) -> bool:
    """Whether two URLs of servers differ in nothing but how they are written."""
    return _written_alike(one) == _written_alike(other)


def is_loopback(url: str) -> bool:
    """Whether the server says by its name that it is of this machine: localhost, 127.0.0.0/8 or ::1."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def host_and_port(url: str) -> str:
    """Return the host and the port of `url`, for example `127.0.0.1:11434`, without a name, a password and a path."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or _USUAL_PORTS[parts.scheme]}"


def _check_host(parts: SplitResult) -> None:
    """Raises ValueError for a host that is neither a name nor an address in full, as 127.1 is none."""
    host = parts.hostname or ""
    host.encode("idna")
    if "[" in parts.netloc.rpartition("@")[2] or host.replace(".", "").isdigit():
        ip_address(host)


def _check(url: str) -> str:
    # A name and a password would be sent in the place of the key, a query before the path.
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError("has to begin with http:// or https://")
    if not is_server(url):
        raise ValueError("not a server's URL, which has a host's name or whole address, and from 1 to 65535 a port")
    if "@" in urlsplit(url).netloc or "?" in url or "#" in url:
        raise ValueError("holds more than a host, a port and a path")
    return url


def _written_alike(url: str) -> tuple[str, str | None, int | None, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _USUAL_PORTS.get(parts.scheme), parts.path.rstrip("/")


#: A server's base URL in settings: it can be asked, and holds neither a name, a password nor a query.
ServerUrl = Annotated[str, AfterValidator(_check)]
