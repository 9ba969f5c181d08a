"""The files of the page, at two URLs: with their version, which caches keep for a year, and without one.

A module imports other modules by relative URLs, so one segment of the path gives all of them the same version. Modules
of two releases never meet in one page.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from quart import Response, request

from quartapp.core.errors import ChatError
from quartapp.routes.context import RouteContext
from quartapp.routes.protocol import Operation, Reply, Route

# Host apps name this module alone in their pages. Its URL without a version re-exports the current version.
ENTRY: Final = "quart-chat.js"

IMMUTABLE: Final = "public, max-age=31536000, immutable"
REVALIDATED: Final = "no-cache"

_FOLDER = Path(__file__).parents[1] / "static"
_VERSION_CHARS = 16

# No `mimetypes`, because it reads tables of the machine, and browsers refuse a module with a wrong type.
_TYPES: Final[Mapping[str, str]] = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
}
_OTHER_TYPE: Final = "text/plain; charset=utf-8"


class StaticFile(NamedTuple):
    """One file, uncompressed and compressed by gzip."""

    body: bytes
    gzipped: bytes
    content_type: str
    etag: str

    @classmethod
    def of(cls, name: str, body: bytes) -> StaticFile:
        """Return the file of that name, which decides the content type."""
        content_type = _TYPES.get(Path(name).suffix, _OTHER_TYPE)
        return cls(body, gzip.compress(body, 9, mtime=0), content_type, _digest(body))


class StaticFiles(NamedTuple):
    """All files by their paths below `static/`; `version` changes with any byte of any file."""

    version: str
    versioned: Mapping[str, StaticFile]
    plain: Mapping[str, StaticFile]

    def find(self, path: str) -> tuple[StaticFile, bool]:
        """Return the file, and whether its path has the version. Raises ChatError: not_found.

        The version of another release is not found, because its modules do not match these.
        """
        version, _, name = path.partition("/")
        is_versioned = version == self.version
        file = self.versioned.get(name) if is_versioned else self.plain.get(path)
        if file is None:
            raise ChatError("not_found")
        return file, is_versioned


@cache
def static_files(folder: Path = _FOLDER) -> StaticFiles:
    """Return the files in `folder`, read and compressed once in the process (188 kB, about 20 ms)."""
    files = {name: StaticFile.of(name, body) for name, body in _read(folder)}
    version = _digest("".join(f"{name} {file.etag}\n" for name, file in files.items()).encode())
    entry = StaticFile.of(ENTRY, f'export * from "./{version}/{ENTRY}";\n'.encode())
    return StaticFiles(version, files, {**files, ENTRY: entry})


async def read_files() -> None:
    """Read and compress the files before the app serves."""
    static_files()


async def static(_: RouteContext, filename: str) -> Response:
    """Return one file, which the client may have already. Raises ChatError: not_found."""
    file, is_versioned = static_files().find(filename)
    is_gzipped = request.accept_encodings["gzip"] > 0
    body = file.gzipped if is_gzipped else file.body
    response = Response(
        body,
        content_type=file.content_type,
        headers={
            "Cache-Control": IMMUTABLE if is_versioned else REVALIDATED,
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        },
    )
    if is_gzipped:
        response.headers["Content-Encoding"] = "gzip"
    response.set_etag(f"{file.etag}-gzip" if is_gzipped else file.etag)
    return await response.make_conditional(request)  # no ranges, because no file is large


FILE_REPLIES: Final = {
    200: Reply("The file.", {"*/*": {}}),
    206: Reply("The part that `Range` requests.", {"*/*": {}}),
    304: Reply("The copy of the client, which `If-None-Match` names, is current."),
}
FILE_ERRORS: Final = ("bad_request", "not_found", "internal_error")

FILES: Final = Route(
    "/static/<path:filename>",
    static,
    {"GET": Operation(summary="A file of the page.", replies=FILE_REPLIES, errors=FILE_ERRORS, is_guarded=False)},
)


def _read(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_VERSION_CHARS]
