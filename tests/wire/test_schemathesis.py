"""Requests made from the served schema, valid and invalid ones: the responses match it.

The fast run makes 250 of them, the soak 4 000.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import schemathesis
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import Interaction, ScenarioRecorder
from schemathesis.hooks import unregister

from quartapp.protocols.native.formats import ACCEPTED, WHOLE
from tests.support import sampling
from tests.support.schema_check import hold_to_schema
from tests.support.serving import Servers


class Amount(NamedTuple):
    """The size of a run: random examples of each operation, those in the schema, and the least number of requests."""

    examples: int
    has_coverage: bool
    least_requests: int


FAST = Amount(25, has_coverage=False, least_requests=250)
SOAK = Amount(275, has_coverage=True, least_requests=4_000)

# The faults of these models are intended, and have a true status.
MODELS = ("mock", "mock-echo", "mock-count", "mock-reasoning", "mock-tool-call", "mock-refusal")

LIMIT_S = 900

CONFIG: dict[str, Any] = {
    "seed": 20_261_121,
    "continue-on-failure": True,
    "cache": {"enabled": False},
    "generation": {"deterministic": True, "no-shrink": True, "database": "none"},
    "phases": {"stateful": {"generation": {"max-examples": 2}}},  # each a chain of requests, of which there are few
    "suppress-health-check": ["all"],
    "checks": {
        # A rule outside JSON Schema, for example that one of two fields is given, is a refusal too.
        "positive_data_acceptance": {"enabled": False},
        # With `Last-Event-ID` the query does not matter, because there is no answer to continue.
        "negative_data_rejection": {"expected-statuses": ["204", "400", "404", "405", "406", "413", "415", "422"]},
    },
}


@pytest.fixture(
    scope="module", params=[pytest.param(FAST, id="fast"), pytest.param(SOAK, id="soak", marks=sampling.SOAK)]
)
def amount(request: pytest.FixtureRequest) -> Amount:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def scenarios(servers: Servers, tmp_path_factory: pytest.TempPathFactory, amount: Amount) -> list[ScenarioRecorder]:
    """Return all requests and responses, in all phases."""
    server = servers.get("quartapp", CHAT_MOCK_TOKENS_PER_S="0")
    given = CONFIG | {
        "generation": CONFIG["generation"] | {"max-examples": amount.examples},
        "phases": CONFIG["phases"] | {"coverage": {"enabled": amount.has_coverage}},
    }
    config = schemathesis.Config.from_dict(given, base_dir=str(tmp_path_factory.mktemp("schemathesis")))
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json", config=config)
    accepts = cycle([*ACCEPTED, WHOLE])

    def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], __: dict[str, Any]) -> None:
        """Offer models that exist, and formats in turn, because the schema names neither."""
        _offer(case.body)
        _offer(case.query)
        if case.path.endswith("/api/stream"):
            case.headers["Accept"] = next(accepts)
        elif case.path.endswith("/api/chat"):
            case.headers["Accept"] = "application/json"  # without it, a GET is refused before its query is read

    def filter_path_parameters(_: schemathesis.HookContext, parameters: dict[str, Any]) -> bool:
        """Leave out line feeds, because Werkzeug matches no path with one: the response is the app's own 404."""
        return not any(end in str(value).upper() for value in (parameters or {}).values() for end in ("\n", "%0A"))

    hooks = (before_call, filter_path_parameters)
    for hook in hooks:
        schemathesis.hook(hook)
    try:
        return list(_run(schema))
    finally:
        for hook in hooks:
            unregister(hook)


def _offer(body: Any) -> None:
    """Replace a possible name of a model by an offered one."""
    if isinstance(body, dict) and isinstance(body.get("model"), str) and 0 < len(body["model"]) <= 200:
        body["model"] = MODELS[len(body["model"]) % len(MODELS)]


def _run(schema: schemathesis.BaseSchema) -> Iterator[ScenarioRecorder]:
    for event in from_schema(schema).execute():
        assert not isinstance(event, events.FatalError | events.NonFatalError), event
        if isinstance(event, events.ScenarioFinished):
            yield event.recorder


@pytest.mark.timeout(LIMIT_S)
def test_enough_requests_were_sent_to_every_operation(scenarios: list[ScenarioRecorder], amount: Amount) -> None:
    statuses = Counter(
        (recorder.cases[id].value.operation.label, reply.response.status_code)
        for recorder in scenarios
        for id, reply in recorder.interactions.items()
        if reply.response is not None
    )
    assert statuses.total() >= amount.least_requests
    answered = {label for label, status in statuses if status in (200, 204)}
    assert answered >= {"POST /api/stream", "POST /api/chat", "POST /v1/chat/completions", "POST /api/ui"}


@pytest.mark.timeout(LIMIT_S)
def test_every_reply_matches_the_schema(scenarios: list[ScenarioRecorder]) -> None:
    failures = {
        f"{check.name}: {check.failure_info.failure.message}\n{check.failure_info.code_sample}"
        for recorder in scenarios
        for checks in recorder.checks.values()
        for check in checks
        if check.failure_info is not None
    }
    assert failures == set()


def test_every_record_of_every_reply_matches_the_schema(scenarios: list[ScenarioRecorder]) -> None:
    for recorder in scenarios:
        for interaction in recorder.interactions.values():
            _hold(interaction)


def _hold(interaction: Interaction) -> None:
    request, reply = interaction.request, interaction.response
    assert reply is not None, f"no reply to {request.method} {request.uri}"
    content_type = reply.headers.get("content-type", [""])[0]
    hold_to_schema(request.method, urlsplit(request.uri).path, reply.status_code, content_type, reply.content or b"")
