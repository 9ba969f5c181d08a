"""TLS on loopback: servers with certificates of an authority made on the spot."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from tests.support.loopback import Answer, Loopback
from tests.support.upstream_models import settle

AUTHORITY = trustme.CA()
LOCALHOST = AUTHORITY.issue_cert("localhost", "127.0.0.1", "model.example")


def ca_file(directory: Path, authority: trustme.CA = AUTHORITY) -> str:
    """The authority's own certificate in a PEM file in `directory`."""
    path = directory / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


class TlsLoopback(Loopback):
    """A Loopback that speaks TLS, with `certificate`."""

    def __init__(self, answer: Answer, certificate: trustme.LeafCert = LOCALHOST) -> None:
        super().__init__(answer)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._context)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._context)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, where: TracebackType | None) -> None:
        await super().__aexit__(kind, error, where)
        await settle()

    async def _serve(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await super()._serve(number, reader, writer)
        finally:
            writer.transport.abort()  # closing would wait for the other side's farewell

    @property
    def origin(self) -> str:
        return f"https://localhost:{self._port}"
