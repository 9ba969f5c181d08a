"""A fast decoder for chunks that add only text or a thought, as most do. It refuses any other chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import fields

from quartapp.protocols.chat_completions.chunk import ChunkDelta, CompletionChunk, StreamedChoice

#: Refusals before the decoder is given up for an answer, because each one costs as much as two chunks.
MAX_MISSES: Final = 8


_PLAIN: Final = ("content", "role", "reasoning_content", "reasoning")


def _only(struct: type[msgspec.Struct], kept: Mapping[str, tuple[Any, ...]]) -> type[msgspec.Struct]:
    """Return a type with the fields of `struct`; fields that are not `kept` must be null."""
    names = {field.name: field.encode_name for field in fields(struct)}
    known = [(name, *kept.get(name, (None, None))) for name in names]
    return msgspec.defstruct(f"Plain{struct.__name__}", known, bases=(struct,), gc=False, rename=names)


def _type(name: str) -> Any:
    return next(field.type for field in fields(ChunkDelta) if field.name == name)


_Delta: Final = _only(ChunkDelta, {name: (_type(name), None) for name in _PLAIN})
_Choice: Final = _only(StreamedChoice, {"delta": (_Delta,), "index": (Literal[0], 0)})
_Chunk: Final = _only(CompletionChunk, {"choices": (list[_Choice],), "usage": (None | UnsetType, UNSET)})  # type: ignore[valid-type]

#: Returns a chunk with text, a thought or nothing for the first choice. Raises REFUSALS for any other.
decode_plain: Final = cast(Callable[[bytes], CompletionChunk], msgspec.json.Decoder(_Chunk).decode)
