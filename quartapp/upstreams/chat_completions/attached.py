"""Citations and images that servers attach to an answer's text, each read once however often its server sends it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from quartapp.core.errors import ChatError
from quartapp.core.events import Annotation, Image
from quartapp.upstreams.chat_completions.strict import Chunk, ChunkDelta

MAX_ATTACHED: Final = 2048

_MAX_INDEX: Final = 2**53
_IMAGE_PARTS: Final = ("image_url", "output_image")
_TEXTS: Final = ("title", "file_id", "filename", "container_id")
_NUMBERS: Final = ("start_index", "end_index", "index")
_ADDRESS: Final = re.compile(r"https?://[^\s\x00-\x1f]+", re.IGNORECASE)
_IMAGE: Final = re.compile(r"data:image/[a-z0-9.+-]+[;,]", re.IGNORECASE)


class Picture(msgspec.Struct):
    """An image that a tool of the server has made, in base64."""

    id: str | None = None
    result: str | None = None
    output_format: str | None = None
    content: None = None

    @property
    def url(self) -> str:
        return f"data:image/{self.output_format or 'png'};base64,{self.result}" if self.result else ""


class Attached:
    """Reads what is attached to one answer. Raises ChatError: upstream_error, for more than MAX_ATTACHED things."""

    def __init__(self) -> None:
        self._known: set[int] = set()

    def read(self, annotations: Any, images: Any) -> Iterator[Annotation | Image]:
        """Yield what is new in both lists."""
        yield from self.annotations(annotations)
        yield from self.images(images)

    def annotations(self, value: Any) -> Iterator[Annotation]:
        """Yield the new annotations of a list. One without a source is left out, because it cites nothing."""
        for each in _entries(value):
            annotation = _annotation(each) if isinstance(each, dict) else None
            # A server that repeats an annotation may have learnt the title since.
            if annotation is not None and self._is_new(_source(annotation)):
                yield annotation

    def images(self, value: Any) -> Iterator[Image]:
        """Yield the new images of a list. Raises ChatError: upstream_error, for one without a usable address."""
        for each in _entries(value):
            url = _image_url(each)
            if not (_IMAGE.match(url) or _ADDRESS.fullmatch(url)):
                raise ChatError("upstream_error")
            if self._is_new(url):
                yield Image(url)

    def _is_new(self, source: object) -> bool:
        """Whether `source` has not come yet; its hash is kept in place of an image of megabytes."""
        key = hash(source)
        if key in self._known:
            return False
        if len(self._known) == MAX_ATTACHED:
            raise ChatError("upstream_error")
        self._known.add(key)
        return True


def cited_by(chunk: Chunk) -> ChunkDelta:
    """Return the pages that Perplexity and xAI name next to the choices as the annotations of a delta.

    Results of a search come first, because they have titles. Citations are addresses.
    """
    entries = [*_entries(chunk.search_results), *_entries(chunk.citations)]
    pages = [each if isinstance(each, dict) else {"url": each} for each in entries]
    return ChunkDelta(annotations=[{"url": page.get("url"), "title": page.get("title")} for page in pages])


class PassedOn:
    """What was passed on unchanged with one choice, so that a message that repeats it has only the rest."""

    def __init__(self) -> None:
        self._known: set[object] = set()

    def note(self, delta: ChunkDelta) -> None:
        """Note the annotations and images of `delta`, up to MAX_ATTACHED."""
        self._new(delta.annotations, _source_in)
        self._new(delta.images, _image_url)

    def keep_new(self, delta: ChunkDelta) -> None:
        """Take from a message what has come before, and note the rest."""
        delta.annotations = self._new(delta.annotations, _source_in)
        delta.images = self._new(delta.images, _image_url)

    def _new(self, entries: Any, source_in: Callable[[Any], object]) -> list[Any] | None:
        found = [(each, hash(source) if (source := source_in(each)) else None) for each in _entries(entries)]
        new = [each for each, key in found if key not in self._known]
        self._known.update([key for _, key in found if key][: MAX_ATTACHED - len(self._known)])
        return new or None


def images_of(delta: dict[str, Any]) -> list[Any] | None:
    """Return the images of a delta or a message, which are in a list of their own or parts of the content."""
    parts = [part for part in _entries(delta.get("content")) if isinstance(part, dict)]
    images = _entries(delta.get("images")) + [part for part in parts if part.get("type") in _IMAGE_PARTS]
    return images or None


def _entries(value: Any) -> list[Any]:
    """Return the entries of a list that are not empty; another value is its own only entry."""
    return [each for each in (value if isinstance(value, list) else [value]) if each]


def _annotation(entry: dict[str, Any]) -> Annotation | None:
    """Return the annotation in `entry`: chat completions have its fields in an object named after its type."""
    kind = entry.get("type")
    kind = kind if isinstance(kind, str) and kind else "url_citation"
    inner = entry.get(kind)
    fields = inner if isinstance(inner, dict) else entry
    url = fields.get("url")
    found: dict[str, Any] = {"url": url if isinstance(url, str) and _ADDRESS.fullmatch(url) else None}
    found |= {name: text if isinstance(text := fields.get(name), str) and text else None for name in _TEXTS}
    found |= {name: number if _is_index(number := fields.get(name)) else None for name in _NUMBERS}
    if kind == "file" and isinstance(name := fields.get("name"), str) and name:  # OpenRouter has parsed it
        found["filename"] = name
    return Annotation(kind, **found) if found["url"] or found["file_id"] or found["filename"] else None


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_INDEX


def _source(annotation: Annotation) -> tuple[object, ...]:
    return (
        annotation.kind,
        annotation.url,
        annotation.file_id,
        annotation.start_index,
        annotation.end_index,
        annotation.index,
    )


def _source_in(entry: Any) -> tuple[object, ...] | None:
    annotation = _annotation(entry) if isinstance(entry, dict) else None
    return _source(annotation) if annotation is not None else None


def _image_url(entry: Any) -> str:
    """Return the address of an image; empty if it has none. Servers put it into an object, or leave that out."""
    if isinstance(entry, dict):
        return _image_url(entry.get("image_url") or entry.get("url"))
    return entry if isinstance(entry, str) else ""
