"""Citations and images in the text of an answer. Each is emitted once, also if its server repeats it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from quartapp.core.errors import ChatError
from quartapp.core.events import Annotation, Image
from quartapp.protocols.chat_completions.chunk import ChunkDelta, CompletionChunk

MAX_ATTACHED: Final = 2048

_MAX_INDEX: Final = 2**53
_IMAGE_PARTS: Final = ("image_url", "output_image")
_TEXTS: Final = ("title", "file_id", "filename", "container_id")
_NUMBERS: Final = ("start_index", "end_index", "index")
_ADDRESS: Final = re.compile(r"https?://[^\s\x00-\x1f]+", re.IGNORECASE)
_IMAGE: Final = re.compile(r"data:image/[a-z0-9.+-]+[;,]", re.IGNORECASE)


class AttachmentParser:
    """A parser of one answer's attachments. Raises ChatError, upstream_error, for more than MAX_ATTACHED of them."""

    def __init__(self) -> None:
        self._known: set[int] = set()

    def read(self, annotations: Any, images: Any) -> Iterator[Annotation | Image]:
        """Yield the new attachments in both lists."""
        yield from self.annotations(annotations)
        yield from self.images(images)

    def annotations(self, value: Any) -> Iterator[Annotation]:
        """Yield the new annotations of a list. An annotation without a source is dropped, because it cites nothing."""
        for each in _entries(value):
            annotation = _annotation(each) if isinstance(each, dict) else None
            # The title is not part of the source, because a server may repeat an annotation with a title.
            if annotation is not None and self._is_new(_source(annotation)):
                yield annotation

    def images(self, value: Any) -> Iterator[Image]:
        """Yield the new images of a list. Raises ChatError, upstream_error, for an image without a usable address."""
        for each in _entries(value):
            url = _image_url(each)
            if not (_IMAGE.match(url) or _ADDRESS.fullmatch(url)):
                raise ChatError("upstream_error")
            if self._is_new(url):
                yield Image(url)

    def _is_new(self, source: object) -> bool:
        """Return whether `source` is new. Only its hash is kept, because an image may have megabytes."""
        key = hash(source)
        if key in self._known:
            return False
        if len(self._known) == MAX_ATTACHED:
            raise ChatError("upstream_error")
        self._known.add(key)
        return True


def cited_by(chunk: CompletionChunk) -> ChunkDelta:
    """Return the pages next to the choices, as Perplexity and xAI send them, as the annotations of a delta.

    Search results come first, because they have titles. Citations are addresses.
    """
    entries = [*_entries(chunk.search_results), *_entries(chunk.citations)]
    pages = [each if isinstance(each, dict) else {"url": each} for each in entries]
    return ChunkDelta(annotations=[{"url": page.get("url"), "title": page.get("title")} for page in pages])


class SentAttachments:
    """The attachments that were sent unchanged with one choice. A message that repeats them keeps only new ones."""

    def __init__(self) -> None:
        self._known: set[object] = set()

    def note(self, delta: ChunkDelta) -> None:
        """Record the annotations and images of `delta`, up to MAX_ATTACHED."""
        self._new(delta.annotations, _source_in)
        self._new(delta.images, _image_url)

    def keep_new(self, delta: ChunkDelta) -> None:
        """Remove recorded attachments from a message, and record the rest."""
        delta.annotations = self._new(delta.annotations, _source_in)
        delta.images = self._new(delta.images, _image_url)

    def _new(self, entries: Any, source_in: Callable[[Any], object]) -> list[Any] | None:
        found = [(each, hash(source) if (source := source_in(each)) else None) for each in _entries(entries)]
        new = [each for each, key in found if key not in self._known]
        self._known.update([key for _, key in found if key][: MAX_ATTACHED - len(self._known)])
        return new or None


def images_of(delta: dict[str, Any]) -> list[Any] | None:
    """Return the images of a delta or a message: a list of their own, or parts of the content."""
    parts = [part for part in _entries(delta.get("content")) if isinstance(part, dict)]
    images = _entries(delta.get("images")) + [part for part in parts if part.get("type") in _IMAGE_PARTS]
    return images or None


def _entries(value: Any) -> list[Any]:
    """Return the entries of a list that are not empty. Any other value counts as a list of one."""
    return [each for each in (value if isinstance(value, list) else [value]) if each]


def _annotation(entry: dict[str, Any]) -> Annotation | None:
    """Return the annotation in `entry`. Chat completions nest its fields in an object named after its type."""
    kind = entry.get("type")
    kind = kind if isinstance(kind, str) and kind else "url_citation"
    inner = entry.get(kind)
    fields = inner if isinstance(inner, dict) else entry
    url = fields.get("url")
    found: dict[str, Any] = {"url": url if isinstance(url, str) and _ADDRESS.fullmatch(url) else None}
    found |= {name: text if isinstance(text := fields.get(name), str) and text else None for name in _TEXTS}
    found |= {name: number if _is_index(number := fields.get(name)) else None for name in _NUMBERS}
    if kind == "file" and isinstance(name := fields.get("name"), str) and name:  # a file that OpenRouter has parsed
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
    """Return the address of an image; empty if it has none. Some servers put it into an object."""
    if isinstance(entry, dict):
        return _image_url(entry.get("image_url") or entry.get("url"))
    return entry if isinstance(entry, str) else ""
