"""The parts of the content of a message, in OpenAI's form."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from quartapp.core.errors import Code
from quartapp.protocols.common.attachments import (
    IMAGE_URL_PATTERN,
    check_base64,
    check_file_data,
    check_image_url,
    decoded_bytes,
    is_data_url,
)
from quartapp.protocols.common.documents import Strict
from quartapp.settings.settings import Settings

ImageAddress = Annotated[str, AfterValidator(check_image_url), Field(json_schema_extra={"pattern": IMAGE_URL_PATTERN})]
Base64 = Annotated[str, AfterValidator(check_base64), Field(json_schema_extra={"contentEncoding": "base64"})]
FileData = Annotated[str, AfterValidator(check_file_data)]
# No path, and no control characters.
FileName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/\\\x00-\x1f\x7f-\x9f]*$")]
# Some clients send an empty text if they have no preference.
Detail = Annotated[Literal["auto", "low", "high", "original", ""], AfterValidator(lambda detail: detail or None)]
FileId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,200}$")]


class Markable(Strict):
    """A part of a message. Anthropic's `cache_control` is sent only to a model whose entry allows it."""

    cache_control: dict[str, Any] | None = None


class TextPart(Markable):
    """A part of a message that is text."""

    type: Literal["text"]
    text: str


class RefusalPart(Markable):
    """A part of an answer with the model's reason not to answer."""

    type: Literal["refusal"]
    refusal: str


class ImageURL(Strict):
    """An image in a data URL, or its remote URL. `detail` is the resolution at which the model sees it."""

    url: ImageAddress
    detail: Detail | None = None


class ImagePart(Markable):
    """A part of a question that is an image."""

    type: Literal["image_url"]
    image_url: ImageURL


class AttachedFile(Strict):
    """A file as base64, bare or in a data URL, or its id at the server of the model."""

    file_data: FileData | None = None
    filename: FileName | None = None
    file_id: FileId | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.file_data is None) == (self.file_id is None):
            raise ValueError("either its data or its id, and not both")
        return self


class FilePart(Markable):
    """A part of a question that is a file."""

    type: Literal["file"]
    file: AttachedFile


class InputAudio(Strict):
    """Audio as base64."""

    data: Base64
    format: Literal["wav", "mp3"]


class AudioPart(Markable):
    """A part of a question that is audio."""

    type: Literal["input_audio"]
    input_audio: InputAudio


ATTACHMENTS = (ImagePart, FilePart, AudioPart)
Attachment = ImagePart | FilePart | AudioPart
Part = Annotated[TextPart | RefusalPart | Attachment, Field(discriminator="type")]

_PARTS_BY_ROLE = {"user": (TextPart, *ATTACHMENTS), "assistant": (TextPart, RefusalPart)}


def may_hold(role: str, part: Part) -> bool:
    """Return whether a message of that role may contain such a part."""
    return isinstance(part, _PARTS_BY_ROLE.get(role, TextPart))


def part_chars(part: Part) -> int:
    """Return the number of characters that the part adds to a prompt. Attachments have other limits, and count 0."""
    if isinstance(part, TextPart):
        return len(part.text)
    return len(part.refusal) if isinstance(part, RefusalPart) else 0


class AttachmentFault(NamedTuple):
    """The reason why settings refuse an attachment: the code, and the field within the part."""

    code: Code
    field: str


def fault_in(part: Attachment, settings: Settings) -> AttachmentFault | None:
    """Return the reason to refuse the attachment, or None for a valid one."""
    match part:
        case ImagePart(image_url=image):
            if is_data_url(image.url):
                return _fault_in_size(image.url, "image_url.url", settings)
            return None if settings.allow_remote_urls else AttachmentFault("invalid_request", "image_url.url")
        case FilePart(file=file):
            if file.file_data is not None:
                return _fault_in_size(file.file_data, "file.file_data", settings)
            return None if settings.allow_file_ids else AttachmentFault("invalid_request", "file.file_id")
        case AudioPart(input_audio=audio):
            return _fault_in_size(audio.data, "input_audio.data", settings)


def _fault_in_size(text: str, field: str, settings: Settings) -> AttachmentFault | None:
    return AttachmentFault("too_large", field) if decoded_bytes(text) > settings.max_attachment_bytes else None
