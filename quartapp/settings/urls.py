"""URLs of servers: checks, comparison, and the loopback addresses of this machine."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator

_USUAL_PORTS = {"http": 80, "https": 443}


def is_server(url: str) -> bool:
    """Return True if `url` has the scheme http or https, a valid host and, if there is a port, a valid port."""
    try:
        parts = urlsplit(url)
        _check_host(parts)
        is_complete = parts.scheme in _USUAL_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # UnicodeError is one
        return False
    return is_complete and url.isprintable() and not {" ", "\\"} & set(url)


def is_same_server(one: str, other: str) -> bool:
    """Return True if two URLs name the same server: they may differ in slashes at the end or a default port."""
    return _normalised(one) == _normalised(other)


def is_loopback(url: str) -> bool:
    """Return True if the host of `url` is localhost, in 127.0.0.0/8, or ::1."""
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
    """Raise ValueError for a host that is neither a name nor a complete address, for example 127.1."""
    host = parts.hostname or ""
    host.encode("idna")
    if "[" in parts.netloc.rpartition("@")[2] or host.replace(".", "").isdigit():
        ip_address(host)


def _check(url: str) -> str:
    # A client would send a name and a password in place of the key, and add the path to the query.
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError("has to begin with http:// or https://")
    if not is_server(url):
        raise ValueError("not a server's URL, which has a host's name or whole address, and from 1 to 65535 a port")
    if "@" in urlsplit(url).netloc or "?" in url or "#" in url:
        raise ValueError("holds more than a host, a port and a path")
    return url


def _normalised(url: str) -> tuple[str, str | None, int | None, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _USUAL_PORTS.get(parts.scheme), parts.path.rstrip("/")


#: A server's base URL in settings: a scheme, a host, a port and a path, but no user name, password or query.
ServerUrl = Annotated[str, AfterValidator(_check)]
