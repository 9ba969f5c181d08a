"""The shared vectors: the encoders give the bytes in the files, and independent parsers find the answers in them."""

from __future__ import annotations

import pytest

from quartapp.core.events import Failed, Raw
from quartapp.protocols.ai_sdk.encode import ui_message_stream
from quartapp.protocols.native.formats import NDJSON, SSE, TEXT, WHOLE
from tests.support import vectors
from tests.support.vectors import Case
from tests.support.wire_checks import CHECKS

MEDIA_TYPES = {
    "text": TEXT.media_type,
    "ndjson": NDJSON.media_type,
    "sse": SSE.media_type,
    "json": WHOLE,
    "openai": "text/event-stream",
    "ai_sdk": ui_message_stream().media_type,
}
CASES = {format: vectors.load(format) for format in vectors.formats()}

each_format = pytest.mark.parametrize("format", CASES)
each_case = pytest.mark.parametrize(
    ("format", "case"),
    [pytest.param(format, case, id=f"{format}: {case.name}") for format, cases in CASES.items() for case in cases],
)


@each_case
def test_an_encoder_gives_the_bytes_of_its_vectors(format: str, case: Case) -> None:
    assert vectors.encoded(format, case) == case.data


@each_case
def test_an_independent_parser_finds_the_answer_in_the_bytes(format: str, case: Case) -> None:
    CHECKS[format](case, case.data)


@each_format
def test_a_file_of_vectors_has_the_layout_of_its_writer(format: str) -> None:
    assert vectors.source(format) == vectors.written(format)


def test_every_format_has_vectors_of_its_media_type() -> None:
    assert {format: vectors.document(format)["media_type"] for format in CASES} == MEDIA_TYPES


@each_format
def test_every_format_has_vectors_of_the_same_answers_if_it_can_encode_them(format: str) -> None:
    own = {case.name: case.batches for case in CASES[format] if not _is_openais_own(case)}
    shared = {case.name: case.batches for case in CASES["ndjson"] if format != "json" or not _fails(case)}
    assert own == shared


@each_format
def test_a_name_has_one_case(format: str) -> None:
    names = [case.name for case in CASES[format]]
    assert len(set(names)) == len(names)


def _fails(case: Case) -> bool:
    return isinstance(case.events[-1], Failed)


def _is_openais_own(case: Case) -> bool:
    return case.include_usage or any(isinstance(event, Raw) for event in case.events)
