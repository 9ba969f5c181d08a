"""TLS on loopback: servers with certificates of an authority that each run creates."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme

from tests.support.loopback import Answer, Loopback

AUTHORITY = trustme.CA()
LOCALHOST = AUTHORITY.issue_cert("localhost", "127.0.0.1", "model.example")


def ca_file(directory: Path, authority: trustme.CA = AUTHORITY) -> str:
    """Write the authority's own certificate into a PEM file in `directory`, and return its path."""
    path = directory / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


class TlsLoopback(Loopback):
    """A Loopback over TLS, with `certificate`."""

    def __init__(self, answer: Answer, certificate: trustme.LeafCert = LOCALHOST) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        super().__init__(answer, context)

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.port}"
