"""The parts of a message: what may be attached to a question, within which limits, and that nothing is fetched."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartapp.core.errors import ChatError
from quartapp.protocols.chat_completions.request import parse_completion
from quartapp.protocols.common.attachments import MAX_URL_CHARS, check_base64, decoded_bytes
from quartapp.protocols.native.request import parse
from quartapp.settings.settings import Settings
from tests.support.endpoints import chunk, event_stream, offered_by, serving
from tests.support.examples import examples
from tests.support.loopback import Loopback, reply

CANARY = "canary7f3a"
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
PROTOCOL = (Path(__file__).parents[4] / "docs" / "reference" / "protocol.md").read_text(encoding="utf-8")
REMOTE: dict[str, Any] = {"CHAT_ALLOW_REMOTE_URLS": True}
FILE_IDS = {"CHAT_ALLOW_FILE_IDS": True}


def text(content: str = "hi") -> dict[str, Any]:
    return {"type": "text", "text": content}


def image(url: Any = PNG, **fields: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def file(**fields: Any) -> dict[str, Any]:
    return {"type": "file", "file": fields or {"file_data": PDF, "filename": "a.pdf"}}


def sound(data: Any = "UklGRg==", format: str = "wav", **fields: Any) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": format, **fields}}


def refusal(content: str = "no") -> dict[str, Any]:
    return {"type": "refusal", "refusal": content}


def body_with(*parts: Any, role: str = "user", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(parts), **fields}]}


def taken(document: Any, **given: Any) -> Any:
    """Return the content of the last message. Both protocols must parse it to the same."""
    loaded = Settings.load({"CHAT_ALLOW_SYSTEM_ROLE": True, **given})
    messages = parse(json.dumps(document).encode(), loaded).messages
    assert parse_completion(json.dumps({"model": "m", **document}).encode(), loaded).messages == messages
    return messages[-1]["content"]


def refused(document: Any, **given: Any) -> tuple[str, str | None]:
    with pytest.raises(ChatError) as raised:
        taken(document, **given)
    assert CANARY not in f"{raised.value!r} {raised.value.path} {raised.value.__cause__}"
    return raised.value.code, raised.value.path


# -- what is taken

TAKEN = {
    "a PNG": image(),
    "a JPEG": image("data:image/jpeg;base64,/9j/4A=="),
    "a GIF": image("data:image/gif;base64,R0lG"),
    "a WebP": image("data:image/webp;base64,UklGRg=="),
    **{f"an image in {detail} detail": image(detail=detail) for detail in ("auto", "low", "high", "original")},
    "a file": file(),
    "a file without a name": file(file_data=PDF),
    "a file as bare base64": file(file_data="JVBERi0=", filename="a.pdf"),
    "a file of no type": file(file_data="data:application/octet-stream;base64,AAAA"),
    "a text with its charset": file(file_data="data:text/plain;charset=utf-8;base64,aGk=", filename="a b é😀.txt"),
    "a file with a long name": file(file_data=PDF, filename="a" * 200),
    "a WAV": sound(),
    "an MP3": sound("SUQz", "mp3"),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_an_attachment_is_passed_on_unchanged(kind: str) -> None:
    assert taken(body_with(text(), TAKEN[kind])) == [text(), TAKEN[kind]]


def test_an_attachment_needs_no_text_and_keeps_its_place() -> None:
    assert taken(body_with(image())) == [image()]
    parts = [image(), text("and"), image("data:image/gif;base64,R0lG"), text(""), sound(), file()]
    assert taken(body_with(*parts)) == parts


def test_an_empty_detail_and_the_type_image_jpg_are_normalised() -> None:
    assert taken(body_with(image(detail=""))) == [image()]
    jpeg = "data:image/jpeg;base64,/9j/4A=="
    assert taken(body_with(image(jpeg.replace("jpeg", "jpg")))) == [image(jpeg)]


def test_null_means_not_given() -> None:
    assert taken(body_with(image(detail=None))) == [image()]
    assert taken(body_with(file(file_data=PDF, filename=None, file_id=None))) == [file(file_data=PDF)]


def test_an_answer_may_have_parts_of_text_and_of_refusal() -> None:
    parts = [text("a"), refusal()]
    assert taken(body_with(*parts, role="assistant")) == parts


ROLES = {"user": {}, "assistant": {}, "system": {}, "developer": {}, "tool": {"tool_call_id": "c1"}}
HOLD = {"user": ("text", "image_url", "file", "input_audio"), "assistant": ("text", "refusal")}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("part", [text(), refusal(), image(), file(), sound()], ids=lambda part: str(part["type"]))
def test_a_message_holds_parts_that_go_with_its_role(role: str, part: dict[str, Any]) -> None:
    document = body_with(text(), part, role=role, **ROLES[role])
    if part["type"] in HOLD.get(role, ("text",)):
        call = {"role": "assistant", "tool_calls": [{"id": "c1", "name": "f"}]}
        assert taken({"messages": [call, *document["messages"]]}) == [text(), part]
    else:
        assert refused(document) == ("invalid_request", "messages.0.content.1.type")


# -- the wrong shape

AT = "messages.0.content.1"
SVG = base64.b64encode(b"<svg onload=alert(1)>").decode()

WRONG: list[tuple[Any, str]] = [
    (CANARY, ""),
    (None, ""),
    ([], ""),
    ({}, ".type"),
    ({"text": CANARY}, ".type"),
    ({"type": None}, ".type"),
    ({"type": 1}, ".type"),
    ({"type": ["text"]}, ".type"),
    ({"type": CANARY}, ".type"),
    ({"type": "input_text", "text": "hi"}, ".type"),
    ({"type": "video_url", "video_url": {"url": PNG}}, ".type"),
    ({"type": "text"}, ".text"),
    ({"type": "text", "text": 1}, ".text"),
    ({**text(), "str": CANARY}, ".str"),
    ({"type": "image_url"}, ".image_url"),
    ({"type": "image_url", "image_url": PNG}, ".image_url"),
    ({"type": "image_url", "image_url": None}, ".image_url"),
    ({"type": "image_url", "image_url": {}}, ".image_url.url"),
    ({**image(), "detail": "low"}, ".detail"),
    (image(detail=CANARY), ".image_url.detail"),
    (image(x=CANARY), ".image_url.x"),
    (image(None), ".image_url.url"),
    (image([PNG]), ".image_url.url"),
    ({"type": "file", "file": None}, ".file"),
    ({"type": "file", "file": {}}, ".file"),
    (file(filename="a"), ".file"),
    (file(file_data=PDF, file_id="file-1"), ".file"),
    (file(file_data=PDF, file_url=CANARY), ".file.file_url"),
    (file(file_data=None), ".file"),
    (file(file_data=1), ".file.file_data"),
    *[(file(file_id=id), ".file.file_id") for id in ("", 1, "a" * 201, "../x", "file 1", "file-1\n", "é")],
    *[
        (file(file_data=PDF, filename=name), ".file.filename")
        for name in ("", 1, "a" * 201, "/etc/passwd", "..\\a", "a\x00", "a\nb", "a\x7f", "a\x9b")
    ],
    ({"type": "input_audio", "input_audio": {"data": "AAAA"}}, ".input_audio.format"),
    (sound(format="ogg"), ".input_audio.format"),
    (sound(x=1), ".input_audio.x"),
    *[(sound(data), ".input_audio.data") for data in (None, 1, "", "data:audio/wav;base64,AAAA")],
]


@pytest.mark.parametrize(("part", "path"), WRONG)
def test_a_wrong_shape_is_reported_with_its_path(part: Any, path: str) -> None:
    assert refused(body_with(text(), part), **REMOTE, **FILE_IDS) == ("invalid_request", AT + path)


NO_IMAGES = [
    "",
    "a.png",
    CANARY,
    "iVBORw0KGgo=",
    "data:",
    "data:,",
    "data:image/png",
    "data:image/png;base64",
    "data:image/png;base64,",
    "data:image/png,AAAA",
    "data:image/png;charset=utf-8;base64,AAAA",
    "data:image/png;base64;base64,AAAA",
    "data: image/png;base64,AAAA",
    "Data:image/png;base64,AAAA",
    "data:IMAGE/PNG;base64,AAAA",
    "data:image/*;base64,AAAA",
    "data:image/bmp;base64,AAAA",
    f"data:image/svg+xml;base64,{SVG}",
    "data:image/svg+xml,<svg/>",
    "data:text/html;base64,AAAA",
    "data:application/pdf;base64,AAAA",
    "data:;base64,AAAA",
    " data:image/png;base64,AAAA",
    "data:image/png;base64" + "a" * 200 + ",AAAA",
]


@pytest.mark.parametrize("url", NO_IMAGES)
def test_an_image_of_an_unsupported_kind_is_refused(url: str) -> None:
    assert refused(body_with(text(), image(url)), **REMOTE) == ("invalid_request", AT + ".image_url.url")


NO_BASE64 = [
    "A", "AA", "AAA", "AAAAA", "A===", "====", "=", "AA==AA==", "AA=A", "A=AA", "=AAA", "AAAA=", "AAAA====",
    "AAA\n", "AAAA\n", " AAAA", "AA AA", "AA\r\nAA==", "AAA-", "AA_A", "AAA.", "AAA%", "AAA\x00", "AAAé",
    "AAA\u200b", "АААА",
]  # fmt: skip


@pytest.mark.parametrize("data", NO_BASE64)
def test_invalid_base64_is_refused(data: str) -> None:
    head = "data:application/pdf;base64,"
    assert refused(body_with(text(), image(f"data:image/png;base64,{data}"))) == (
        "invalid_request",
        AT + ".image_url.url",
    )
    assert refused(body_with(text(), file(file_data=data))) == ("invalid_request", AT + ".file.file_data")
    assert refused(body_with(text(), file(file_data=head + data))) == ("invalid_request", AT + ".file.file_data")
    assert refused(body_with(text(), sound(data))) == ("invalid_request", AT + ".input_audio.data")


@pytest.mark.parametrize(
    "data",
    ["data:;base64,AAAA", "data:text;base64,AAAA", "data:a/b/c;base64,AAAA", "data:text/plain,AAAA", "data:AAAA",
     "data:text/plain;base64", f"data:a/{'b' * 200};base64,AAAA", "data:a/b;c;base64,AAAA",
     "data:a/b;base64x,AAAA", "data:a/b;base64;c=d,AAAA", "https://example.com/a.pdf"],
)  # fmt: skip
def test_a_data_url_without_a_file_is_refused(data: str) -> None:
    assert refused(body_with(text(), file(file_data=data)), **REMOTE) == ("invalid_request", AT + ".file.file_data")


@given(data=st.binary(min_size=1, max_size=50) | st.text("AZaz09+/=- \n", max_size=12).map(str.encode))
@examples(100)
def test_base64_is_accepted_as_by_a_strict_decoder(data: bytes) -> None:
    for candidate in (base64.b64encode(data).decode(), data.decode("latin-1")):
        if size := size_of_base64(candidate):
            assert check_base64(candidate) == candidate
            assert decoded_bytes(candidate) == decoded_bytes(f"data:a/b;base64,{candidate}") == size
        else:
            with pytest.raises(ValueError, match="base64"):
                check_base64(candidate)


def size_of_base64(candidate: str) -> int:
    """Return the number of decoded bytes; 0 for invalid base64 or for more padding than the bytes need."""
    try:
        data = base64.b64decode(candidate, validate=True)
    except ValueError:  # binascii.Error, and what is not ASCII
        return 0
    return len(data) if len(base64.b64encode(data)) == len(candidate) else 0


# -- what is elsewhere

ADDRESSES = [
    "https://example.com/a.png",
    "http://example.com",
    "https://example.com:8443/a%20b.png?sig=a%2Fb&x=1#f",
    "https://192.0.2.1/a.png",
    "https://[2001:db8::1]:443/a.png",
    "https://example.com?a@b",
    "https://example.com/" + "a" * (MAX_URL_CHARS - 20),
]
NO_ADDRESSES = [
    "https://",
    "https:///a.png",
    "https:a.png",
    "//example.com/a.png",
    "example.com/a.png",
    "https://user@example.com/a.png",
    "https://user:password@example.com/a.png",
    "https://example.com:a@example.org/",
    "https://example.com\\@example.org/",
    "https://example.com/a b.png",
    "https://example.com/a.png\n",
    "https://example.com/\r\nX-Canary: 1",
    "https://example.com/\x00",
    "https://example.com/é.png",
    "https://exämple.com/a.png",
    "https://example.com/\\a",
    "https://example.com:/a.png",
    "https://example.com:123456/a.png",
    "https://[::1/a.png",
    "https://%65xample.com/",
    "file:///etc/passwd",
    "ftp://example.com/a.png",
    "gopher://example.com/",
    "javascript:alert(1)",
    "blob:https://example.com/1",
    "HTTPS://example.com/a.png",
    "https://example.com/" + "a" * (MAX_URL_CHARS - 19),
]


@pytest.mark.parametrize("url", ADDRESSES)
def test_a_url_is_passed_on_if_a_setting_allows_it(url: str) -> None:
    assert taken(body_with(text(), image(url, detail="low")), **REMOTE) == [text(), image(url, detail="low")]
    assert refused(body_with(text(), image(url))) == ("invalid_request", AT + ".image_url.url")


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_an_invalid_url_is_refused_even_then(url: str) -> None:
    assert refused(body_with(text(), image(url)), **REMOTE) == ("invalid_request", AT + ".image_url.url")


def test_a_file_id_is_accepted_if_a_setting_allows_it() -> None:
    for part in (file(file_id="file-Ab_1"), file(file_id="a" * 200, filename="a.pdf")):
        assert taken(body_with(text(), part), **FILE_IDS) == [text(), part]
        assert refused(body_with(text(), part), **REMOTE) == ("invalid_request", AT + ".file.file_id")


ROUTES = {
    "/ai/api/stream": {"messages": [{"role": "user", "content": [text(), image("{url}")]}]},
    "/ai/v1/chat/completions": {"model": "ours", "messages": [{"role": "user", "content": [text(), image("{url}")]}]},
    "/ai/api/ui": {
        "id": "c1",
        "messages": [
            {
                "id": "m1",
                "role": "user",
                "parts": [text(), {"type": "file", "mediaType": "image/png", "url": "{url}"}],
            }
        ],
    },
}


@pytest.mark.parametrize("route", ROUTES)
async def test_nothing_is_fetched(route: str) -> None:
    end = event_stream(chunk({"content": "a"}, "stop"))
    async with Loopback(reply(body=end)) as upstream, Loopback(reply()) as elsewhere:
        address = elsewhere.base_url + "/a.png"
        document = json.loads(json.dumps(ROUTES[route]).replace("{url}", address))
        async with serving(path=route, **offered_by(upstream), **REMOTE) as client:
            assert (await client.ask(document)).status == 200
        [request] = upstream.requests
        assert request.json["messages"] == [{"role": "user", "content": [text(), image(address)]}]
        assert elsewhere.connections == 0


# -- limits


def data_of(size: int) -> str:
    return base64.b64encode(b"\xff" * size).decode()


SIZED = {
    "image_url.url": lambda size: image("data:image/png;base64," + data_of(size)),
    "file.file_data": lambda size: file(file_data="data:application/pdf;base64," + data_of(size)),
    "input_audio.data": lambda size: sound(data_of(size)),
}


@pytest.mark.parametrize("field", SIZED)
@pytest.mark.parametrize("limit", [7, 8, 9])
def test_an_attachment_may_have_as_many_bytes_as_the_limit_and_no_more(field: str, limit: int) -> None:
    within, over = SIZED[field](limit), SIZED[field](limit + 1)
    assert taken(body_with(within, within), CHAT_MAX_ATTACHMENT_BYTES=limit) == [within, within]
    assert refused(body_with(within, over), CHAT_MAX_ATTACHMENT_BYTES=limit) == ("too_large", f"{AT}.{field}")


def test_the_limit_is_of_bytes_that_are_decoded_bare_or_not() -> None:
    part = file(file_data=data_of(9))
    assert taken(body_with(part), CHAT_MAX_ATTACHMENT_BYTES=9) == [part]
    assert refused(body_with(part), CHAT_MAX_ATTACHMENT_BYTES=8) == ("too_large", "messages.0.content.0.file.file_data")


def test_a_request_may_have_as_many_attachments_as_the_limit_in_all_messages_and_no_more() -> None:
    three = {"messages": [*body_with(image(), sound())["messages"], *body_with(text(), file())["messages"]]}
    body = json.dumps(three).encode()
    assert len(parse(body, Settings.load({"CHAT_MAX_ATTACHMENTS": 3})).messages) == 2
    assert refused(three, CHAT_MAX_ATTACHMENTS=2) == ("too_large", "messages")
    assert refused(body_with(image()), CHAT_MAX_ATTACHMENTS=0) == ("too_large", "messages")
    assert taken(body_with(text(), text()), CHAT_MAX_ATTACHMENTS=0) == [text(), text()]


def test_attachments_do_not_count_as_characters_of_the_prompt() -> None:
    long = [image("data:image/png;base64," + data_of(3000)), file(), sound(), text("1234")]
    assert taken(body_with(*long), CHAT_MAX_PROMPT_CHARS=4) == long
    assert refused(body_with(*long, text("5")), CHAT_MAX_PROMPT_CHARS=4) == ("too_large", "messages")
    sent = body_with(text("123"), refusal("45"), role="assistant")
    assert refused(sent, CHAT_MAX_PROMPT_CHARS=4) == ("too_large", "messages")


def test_a_message_may_have_a_thousand_parts_and_no_more() -> None:
    assert len(taken(body_with(*[text("a")] * 1000))) == 1000
    assert refused(body_with(*[text("a")] * 1001)) == ("invalid_request", "messages.0.content")


def test_the_body_that_the_protocol_advises_has_room_for_the_largest_attachment() -> None:
    [advised] = re.findall(r"CHAT_MAX_BODY_BYTES=(\d+)", PROTOCOL)
    loaded = Settings.load({"CHAT_MAX_BODY_BYTES": advised})
    url = "data:image/png;base64," + data_of(loaded.max_attachment_bytes)
    assert f"{len(url.partition(',')[2]):,}".replace(",", " ") in PROTOCOL
    body = json.dumps(body_with(text("a" * loaded.max_prompt_chars), image(url))).encode()
    assert len(body) <= loaded.max_body_bytes
    assert len(parse(body, loaded).messages) == 1


def test_the_example_of_the_protocol_is_taken() -> None:
    [example] = re.findall(
        r"```json\n(.*?)```", PROTOCOL.partition("### Attachments")[2].partition("### ")[0], re.DOTALL
    )
    assert [part["type"] for part in taken(json.loads(example))] == ["text", "image_url", "file", "input_audio"]


# -- random parts

NAMES = st.sampled_from(
    ["type", "text", "image_url", "url", "detail", "file", "file_data", "filename", "file_id", "input_audio", "data"]
)
OTHER_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="."), max_size=3)  # a dot parts a path
VALUES = st.recursive(
    st.sampled_from(["text", "image_url", "file", "input_audio", PNG, "AAAA", "wav", "", None, 1, True]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES | OTHER_NAMES, inner, max_size=3),
    max_leaves=4,
)
ALL_PARTS = st.sampled_from([text(), refusal(), image(), file(), sound()])


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """Draw a part with another value in one of its fields, or in one field of its inner object."""
    part = json.loads(json.dumps(draw(ALL_PARTS)))
    inner = next((value for value in part.values() if isinstance(value, dict)), part)
    draw(st.sampled_from([part, inner]))[draw(NAMES | OTHER_NAMES)] = draw(VALUES)
    return part


@given(
    parts=st.lists(ALL_PARTS | damaged() | VALUES, min_size=1, max_size=3), role=st.sampled_from(["user", "assistant"])
)
@examples(100)
def test_a_path_leads_into_what_was_sent(parts: list[Any], role: str) -> None:
    """Check that a path leads to an existing field, or to a missing one in an existing parent."""
    document: Any = body_with(*parts, role=role)
    *way, _ = path_refused(document).split(".")
    for step in way:
        document = document[int(step)] if isinstance(document, list) else document[step]


def path_refused(document: Any) -> str:
    """Return the path of a refusal with a wrong shape; empty if the document is accepted."""
    try:
        parse(json.dumps(document).encode(), Settings())
    except ChatError as error:
        if error.code != "invalid_request":
            raise
        return str(error.path)
    return ""
