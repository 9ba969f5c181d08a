"""An upstream's failures: separated by status and cause, with only the names in their messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import aiohttp
import aiohttp.client_exceptions
import httpx2
import pytest

from quartapp.core.error_log import describe
from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.core.errors import ChatError, UpstreamFault
from quartapp.models.fallback import TRANSIENT
from quartapp.upstreams.common.failures import from_error_object, from_response
from quartapp.upstreams.http.transport import TRANSPORT_ERRORS

KEY = "sk-canary-7f3a9b1c2d4e5f60"
PROMPT = "the prompt nobody may read"
SECRETS = (KEY, PROMPT, "canary")

BY_STATUS = {
    **dict.fromkeys((300, 301, 302, 303, 304, 307, 308), "upstream_error"),
    402: "upstream_unpaid",
    **dict.fromkeys((400, 401, 403, 404, 405, 406, 407, 409, 410, 411, 413, 414, 415, 418), "upstream_refused"),
    **dict.fromkeys((421, 422, 423, 424, 425, 426, 428, 431, 451, 498, 499), "upstream_refused"),
    408: "upstream_error",
    429: "upstream_busy",
    **dict.fromkeys((500, 501, 502, 504, 505, 507, 511, 520, 522, 524, 530, 598, 599), "upstream_error"),
    503: "upstream_overloaded",
    529: "upstream_overloaded",
    **dict.fromkeys((100, 199, 600, 999), "upstream_error"),
}


def openai_error(**fields: Any) -> bytes:
    return json.dumps({"error": {"message": f"{KEY} {PROMPT}", "type": "some_error", **fields}}).encode()


BODIES = {
    "OpenAI's error": openai_error(param=KEY, code=None),
    "an error at the top": json.dumps({"message": f"{KEY} {PROMPT}", "detail": PROMPT}).encode(),
    "an error that is text": json.dumps({"error": f"{KEY} {PROMPT}"}).encode(),
    "an error that is a list": json.dumps({"error": [KEY, PROMPT]}).encode(),
    "null": b"null",
    "a list": json.dumps([{"error": {"message": PROMPT}}]).encode(),
    "HTML": f"<html><title>{KEY}</title><h1>{PROMPT}</h1></html>".encode(),
    "nothing": b"",
    "10 kB": f"{KEY} {PROMPT} ".encode() * 200,
    "10 kB of JSON": openai_error(message=f"{KEY} {PROMPT} " * 200),
    "deep JSON": b'{"error":' * 20_000,
    "a deep list": b"[" * 65_536,
    "invalid UTF-8": b'{"error":{"message":"\xff\xfe' + KEY.encode() + b'","type":"some_error"}}',
    "UTF-16": openai_error().decode().encode("utf-16"),
    "a lone surrogate": b'{"error":{"message":"\\ud800 %b"}}' % KEY.encode(),
    "a huge number": b'{"error":{"code":%b}}' % (b"9" * 5000),
    "JSON that was cut": openai_error()[:-9],
}


# -- statuses and bodies


@pytest.mark.sampled
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("status", BY_STATUS)
def test_a_status_has_its_code_whatever_the_body_is(status: int, body: str) -> None:
    error = from_response(status, {}, BODIES[body])
    assert error.code == BY_STATUS[status]
    assert error.status == KINDS[error.code].status
    assert error.fault is not None
    assert error.fault.status == status


@pytest.mark.parametrize("body", BODIES)
def test_only_names_of_an_error_body_are_logged(body: str) -> None:
    error = from_response(400, {"x-request-id": f"{PROMPT}"}, BODIES[body])
    output = json.dumps([error.message, str(error), repr(error), describe(error)])
    assert [secret for secret in SECRETS if secret in output] == []


@pytest.mark.parametrize("body", BODIES)
def test_no_key_is_logged_even_with_the_message(body: str) -> None:
    output = json.dumps(describe(from_response(400, {}, BODIES[body]), with_message=True))
    assert "canary" not in output


@pytest.mark.parametrize("before", range(470, 501, 3))
def test_a_key_is_masked_where_a_long_message_is_truncated(before: int) -> None:
    words = ("word " * 100)[:before]
    error = from_response(400, {}, openai_error(message=f"{words}{KEY}"))
    message = describe(error, with_message=True)["upstream"]["message"]
    assert message.startswith(words[:400])
    assert "sk-ca" not in message


@pytest.mark.parametrize("field", ["type", "code"])
def test_a_key_in_the_place_of_a_name_is_not_repeated(field: str) -> None:
    error = from_response(401, {}, openai_error(**{field: KEY}))
    assert "canary" not in json.dumps(describe(error))


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "context_length_exceeded", "context_too_long"),
        (400, "invalid_prompt", "content_filtered"),
        (400, "image_content_policy_violation", "content_filtered"),
        (402, None, "upstream_unpaid"),
        (429, "slow_down", "upstream_busy"),
        (413, "context_length_exceeded", "context_too_long"),
        (400, "content_filter", "content_filtered"),
        (400, "content_policy_violation", "content_filtered"),
        (403, "rate_limit_exceeded", "upstream_busy"),
        (429, "rate_limit_exceeded", "upstream_busy"),
        (429, "insufficient_quota", "upstream_unpaid"),
        (402, "insufficient_quota", "upstream_unpaid"),
        (400, "Context_Length_Exceeded", "context_too_long"),
        (500, "context_length_exceeded", "upstream_error"),
        (503, "content_filter", "upstream_overloaded"),
        (529, "rate_limit_exceeded", "upstream_overloaded"),
        (400, 400, "upstream_refused"),
        (400, "exceed_context_size_error", "context_too_long"),
        (400, "ResponsibleAIPolicyViolation", "content_filtered"),
        (400, "data_inspection_failed", "content_filtered"),
        (429, "RESOURCE_EXHAUSTED", "upstream_busy"),
        (400, "ThrottlingException", "upstream_busy"),
        (429, "engine_overloaded_error", "upstream_overloaded"),
        (500, "overloaded_error", "upstream_error"),
        (400, "429", "upstream_refused"),
        (400, ["context_length_exceeded"], "upstream_refused"),
        (400, {"code": "context_length_exceeded"}, "upstream_refused"),
    ],
)
def test_a_known_code_counts_before_the_status_unless_the_server_failed(status: int, code: Any, expected: str) -> None:
    assert from_response(status, {}, openai_error(code=code)).code == expected
    assert from_response(status, {}, openai_error(type=code)).code == expected
    assert from_response(status, {}, openai_error(status=code)).code == expected
    assert from_response(status, {}, json.dumps({"code": code}).encode()).code == expected
    assert from_response(status, {}, b"[" + openai_error(code=code) + b"]").code == expected


def test_the_names_of_a_failure_are_logged() -> None:
    error = from_response(429, {"x-request-id": "req_1.2-3"}, openai_error(type="tokens", code="rate_limit_exceeded"))
    assert error.fault == UpstreamFault(429, "tokens", "rate_limit_exceeded", "req_1.2-3", f"{KEY} {PROMPT}")


@pytest.mark.parametrize(
    "name",
    ["", "two words", "a\nb", "a" * 65, "é", "<b>", "a;b", "\x1b[31m", "a\u2028", "a\n", [1], {"a": 1}, None],
)
def test_an_invalid_name_is_dropped(name: Any) -> None:
    fault = from_response(400, {"x-request-id": str(name or "")}, openai_error(type=name, code=name)).fault
    assert fault == UpstreamFault(400, message=f"{KEY} {PROMPT}")


@pytest.mark.parametrize(("number", "name"), [(429, "429"), (1.5, "1.5"), (True, "True")])
def test_a_number_for_a_name_is_kept(number: Any, name: str) -> None:
    fault = from_response(400, {}, openai_error(code=number)).fault
    assert fault is not None
    assert fault.code == name


# -- Retry-After


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("007", 7),
        (" 7 ", 7),
        ("1.0", 1),
        ("1.2", 2),
        ("1.0009", 2),
        ("0.0001", 1),
        ("86400", 86_400),
        ("86401", 86_400),
        ("999999999", 86_400),
        ("9999999999", 86_400),
        ("9" * 5000, None),
        ("-1", None),
        ("+1", None),
        ("", None),
        (".", None),
        ("1.", None),
        (".5", None),
        ("1e3", None),
        ("1,5", None),
        ("7, 8", None),
        ("0x7", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("7\r\nX-Canary: 1", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
    ],
)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_retry_after_is_rounded_up_and_bounded_and_anything_else_is_dropped(
    status: int, header: str, seconds: int | None
) -> None:
    assert from_response(status, {"retry-after": header}, b"").retry_after_s == seconds


DATE = "Sat, 21 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1200"}, 2),
        ({"retry-after-ms": "0"}, 0),
        ({"retry-after-ms": "1"}, 1),
        ({"retry-after-ms": " 999.5 "}, 1),
        ({"retry-after-ms": "86400001"}, 86_400),
        ({"retry-after-ms": "1200", "retry-after": "60"}, 2),
        ({"retry-after-ms": "soon", "retry-after": "60"}, 60),
        ({"retry-after-ms": "-1"}, None),
        ({"retry-after-ms": ""}, None),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:07 GMT", "date": DATE}, 7),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:00 GMT", "date": DATE}, 0),
        ({"retry-after": "Sat, 21 Nov 2026 09:59:00 GMT", "date": DATE}, 0),
        ({"retry-after": "Tue, 24 Nov 2026 10:00:00 GMT", "date": DATE}, 86_400),
        ({"retry-after": "Saturday, 21-Nov-26 10:01:00 GMT", "date": DATE}, 60),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:07 +0200", "date": DATE}, 7),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:07 -0000", "date": DATE}, None),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:07 GMT"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:07 GMT", "date": "soon"}, None),
        ({"retry-after": "Sat, 99 Nov 2026 10:00:07 GMT", "date": DATE}, None),
        ({"retry-after": "Sat, 21 Nov 999999 10:00:07 GMT", "date": DATE}, None),
        ({"date": DATE}, None),
        ({"x-ratelimit-reset": "1795000000", "date": "0001-01-01T00:00:00"}, None),
    ],
)
def test_retry_after_may_be_milliseconds_or_a_date_after_the_responses_own(
    headers: dict[str, str], seconds: int | None
) -> None:
    assert from_response(429, headers, b"").retry_after_s == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ms-retry-after-ms": "1200"}, 2),
        ({"x-ms-retry-after-ms": "1200", "retry-after": "60"}, 2),
        ({"x-ratelimit-reset-requests": "7s"}, 7),
        ({"x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"x-ratelimit-reset-tokens": "2m59.56s"}, 180),
        ({"x-ratelimit-reset-tokens": "120ms"}, 1),
        ({"x-ratelimit-reset-requests": "1h2m3s"}, 3723),
        ({"x-ratelimit-reset-requests": "9"}, 9),
        ({"x-ratelimit-reset": "9"}, 9),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6s"}, 6),
        ({"x-ratelimit-reset-requests": "1h", "x-ratelimit-reset-tokens": "6s", "retry-after": "7"}, 7),
        (
            {
                "x-ratelimit-reset-requests": "1h",
                "x-ratelimit-remaining-requests": "14",
                "x-ratelimit-reset-tokens": "6s",
                "x-ratelimit-remaining-tokens": "0",
            },
            6,
        ),
        ({"x-ratelimit-reset-requests": "0s", "x-ratelimit-reset-tokens": "6s"}, 6),
        ({"x-ratelimit-reset": "1795255207", "date": DATE}, 7),
        ({"x-ratelimit-reset": "1795255207000", "date": DATE}, 7),
        ({"x-ratelimit-reset": "1795255207"}, None),
        ({"anthropic-ratelimit-requests-reset": "2026-11-21T10:00:07Z", "date": DATE}, 7),
        ({"x-ratelimit-reset-tokens": "soon"}, None),
        ({"x-ratelimit-reset-tokens": ""}, None),
        ({"x-ratelimit-reset-tokens": "-1"}, None),
        ({"x-ratelimit-remaining-tokens": "7"}, None),
    ],
)
def test_the_time_of_a_retry_may_be_in_azures_header_or_in_those_of_rate_limits(
    headers: dict[str, str], seconds: int | None
) -> None:
    assert from_response(429, headers, b"").retry_after_s == seconds


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [("36s", 36), ("36.4s", 37), ("0.5s", 1), ("soon", None), (36, None), (None, None)],
)
def test_the_time_of_a_retry_may_be_in_googles_retry_info(delay: Any, seconds: int | None) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [{"@type": "other"}, None, info]}
    assert from_response(429, {}, json.dumps([{"error": error}]).encode()).retry_after_s == seconds
    assert from_error_object({"error": error}).retry_after_s == seconds


TOO_LONG = {
    "OpenAI and vLLM": "This model's maximum context length is 2048 tokens. However, you requested 4096 tokens.",
    "SGLang": "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "Anthropic": "prompt is too long: 210000 tokens > 200000 maximum",
    "Mistral": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
    "Gemini": "The input token count (1000001) exceeds the maximum number of tokens allowed (1000000).",
    "llama.cpp": "the request exceeds the available context size, try increasing it",
    "Bedrock": "Input is too long for requested model.",
    "xAI": "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
    "Moonshot": "Invalid request: Your request exceeded model token limit: 8192",
    "Text Generation Inference": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.",
}


@pytest.mark.parametrize("server", TOO_LONG)
def test_a_conversation_that_is_too_long_is_recognised_by_its_message_alone(server: str) -> None:
    for body in ({"error": {"message": TOO_LONG[server]}}, {"message": TOO_LONG[server]}, {"error": TOO_LONG[server]}):
        document = json.dumps(body | {"type": "invalid_request_error"}).encode()
        assert [from_response(status, {}, document).code for status in (400, 413, 422)] == ["context_too_long"] * 3
        assert from_error_object(body).code == "context_too_long"


@pytest.mark.parametrize(
    "words",
    [
        "max_tokens: 300000 > 200000, which is the maximum allowed number of output tokens",
        "Invalid 'user': string too long. Expected a string with maximum length 64.",
        "messages.1: text content blocks must be non-empty",
        "Unknown parameter: 'top_k'.",
    ],
)
def test_other_messages_do_not_mean_a_conversation_that_is_too_long(words: str) -> None:
    assert from_response(400, {}, json.dumps({"error": {"message": words}}).encode()).code == "upstream_refused"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (413, "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 8000"),
        (413, "secret"),
        (429, "Request too large for gpt-4o in organization o on tokens per min (TPM): Limit 10000, Requested 12000."),
    ],
)
def test_a_request_that_is_larger_than_a_minutes_tokens_is_too_long_and_never_busy(status: int, message: str) -> None:
    body = openai_error(message=message, type="tokens", code="rate_limit_exceeded")
    error = from_response(status, {"retry-after": "7"}, body)
    assert (error.code, error.status, error.retry_after_s) == ("context_too_long", 400, None)
    assert error.code not in TRANSIENT


@pytest.mark.parametrize("status", [400, 401, 402, 404])
def test_retry_after_counts_only_if_a_retry_may_help(status: int) -> None:
    assert from_response(status, {"retry-after": "7"}, b"").retry_after_s is None


def test_headers_are_found_in_any_case() -> None:
    headers = httpx2.Headers({"Retry-After": "7", "X-Request-ID": "req_1"})
    error = from_response(429, headers, b"")
    assert error.retry_after_s == 7
    assert error.fault == UpstreamFault(429, request_id="req_1")


# -- error objects in a stream


@pytest.mark.parametrize("error_object", [{}, [], None, "text", 1, {"message": 1}, {"code": {}}, {"type": [KEY]}])
def test_an_error_object_of_any_shape_is_an_upstream_error(error_object: Any) -> None:
    error = from_error_object(error_object)
    assert error.code == "upstream_error"
    assert error.retry_after_s is None
    assert describe(error) == {"error": "upstream_error", "upstream": {}}


IN_A_STREAM: dict[str, list[Any]] = {
    "upstream_busy": [
        {"code": 429},
        {"code": "429"},
        {"status": 429},
        {"status": "RESOURCE_EXHAUSTED", "code": 429},
        {"type": "rate_limit_error", "code": None},
        {"error": {"code": 429}},
        {"error": "slow down", "status": 429},
        {"object": "error", "message": PROMPT, "code": 429},
        [{"error": {"code": 429}}],
    ],
    "upstream_overloaded": [
        {"code": 503},
        {"code": 529},
        {"type": "overloaded_error"},
        {"status": "UNAVAILABLE"},
        {"code": "server_is_overloaded"},
        {"type": "service_unavailable_error"},
    ],
    "upstream_refused": [{"code": 400}, {"code": "404"}, {"type": "invalid_request_error", "code": 401}],
    "upstream_error": [{"code": 502}, {"code": 500}, {"code": 408}, {"code": 200}, {"code": 42900}, {"code": 4.29}],
    "context_too_long": [{"code": "context_length_exceeded"}, {"type": "exceed_context_size_error", "code": 400}],
    "content_filtered": [{"code": "content_filter", "status": 400}],
}


@pytest.mark.parametrize(("code", "error_object"), [(code, each) for code, all in IN_A_STREAM.items() for each in all])
def test_an_error_object_is_reported_by_its_names_or_its_status(code: str, error_object: Any) -> None:
    error = from_error_object(error_object)
    assert error.code == code
    assert PROMPT not in json.dumps(describe(error))


@pytest.mark.parametrize(
    "error_object", [{"message": PROMPT}, {"error": PROMPT}, {"detail": PROMPT}, {"error": {"message": PROMPT}}]
)
def test_the_message_of_an_error_object_is_logged_only_on_request(error_object: Any) -> None:
    error = from_error_object(error_object)
    assert describe(error) == {"error": "upstream_error", "upstream": {}}
    assert describe(error, with_message=True)["upstream"] == {"message": PROMPT}


def test_an_error_object_keeps_its_names() -> None:
    error = from_error_object({"message": PROMPT, "type": "server_error", "code": "overloaded"})
    assert error.fault == UpstreamFault(type="server_error", code="overloaded", message=PROMPT)


# -- exceptions of the transport


def exceptions_of(module: ModuleType) -> Iterator[type[Exception]]:
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, type) and issubclass(value, Exception):
            yield value


# Exceptions for an invalid call of the chat's, or from parts that it does not use: web sockets.
OWN_CODES = (
    httpx2.InvalidURL,
    httpx2.CookieConflict,
    aiohttp.client_exceptions.WSMessageTypeError,
)

RAISED = [
    exception
    for module in (httpx2, aiohttp.client_exceptions)
    for exception in exceptions_of(module)
    if not issubclass(exception, OWN_CODES)
]


def test_the_tests_cover_exceptions_of_the_transport() -> None:
    packages = {exception.__module__.partition(".")[0] for exception in RAISED}
    assert {"httpx2", "aiohttp"} <= packages
    assert len(RAISED) > 50


@pytest.mark.parametrize("exception", RAISED, ids=lambda exception: f"{exception.__module__}.{exception.__name__}")
def test_each_exception_of_the_client_is_one_of_the_transports(exception: type[Exception]) -> None:
    assert issubclass(exception, TRANSPORT_ERRORS)


def test_an_exception_of_the_transport_is_described_by_its_name_without_its_message() -> None:
    error = ChatError("upstream_error")
    error.__cause__ = httpx2.ConnectError(f"{KEY} {PROMPT}")
    assert describe(error, with_message=True) == {"error": "upstream_error", "causes": ["ConnectError"]}
