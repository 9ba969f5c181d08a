"""The example tools_page in Chromium: calls of tools in Python, and the decisions of the user."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.support.example_pages import ExamplePage, opened_example, settings_of_models
from tests.support.sampling import SOAK
from tests.support.serving import Server, Servers

pytestmark = pytest.mark.asyncio(loop_scope="module")

TARGET = "examples.tools_page.app:app"
LIST = "1. Green tea, on its way\n2. A kettle with a dial, on its way\n3. Two cups, delivered"
START = {"type": "start", "id": "1", "model": "mock"}
STEP = {"type": "step", "extra": {"turn": 1}}


@pytest.fixture(scope="module")
def server(servers: Servers, upstream: str) -> Server:
    return servers.get("hypercorn", TARGET, **settings_of_models(upstream))


@pytest.fixture(scope="module")
def slow_server(servers: Servers, upstream: str) -> Server:
    """A server for one answer at a time, on which an order takes a minute to cancel."""
    settings = {"DELAY_S": "60", "CHAT_MAX_OPEN_STREAMS": "1", **settings_of_models(upstream)}
    return servers.get("hypercorn", TARGET, **settings)


def card(page: ExamplePage, number: int = 0) -> Locator:
    return page.log.locator(".call").nth(number)


def call(index: int, name: str, arguments: str, **fields: Any) -> dict[str, Any]:
    named = {"type": "tool_call", "index": index, "id": f"call_{index}", "name": name, "arguments": arguments}
    return {**named, "executor": "server", **fields}


async def answer_with(page: ExamplePage, *records: dict[str, Any]) -> None:
    """Answer the next requests with these records."""
    body = "".join(json.dumps(record) + "\n" for record in records)
    await page.page.route("**/api/stream", lambda route: route.fulfill(body=body))


async def expect_card(card: Locator, state: str, **fields: str) -> None:
    """Expect the state of a call, its `arguments` and its `result`."""
    await expect(card.locator(".state")).to_have_text(state)
    for selector, text in {"dl": fields.get("arguments"), "pre": fields.get("result")}.items():
        if text is None:
            await expect(card.locator(selector)).to_be_hidden()
        else:
            await expect(card.locator(selector)).to_have_text(text, use_inner_text=False)


async def test_the_page_shows_a_call_with_its_result_and_sends_them_back(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        await page.ask("Which orders do I have?")
        await expect_card(card(page), "Done", result=LIST)
        await expect(page.answer().locator(".text")).to_have_text(f"The tool answered: {LIST}")
        await expect(page.status).to_have_text("Done.")
        await page.ask("thanks")
        question, turn, result, answer, _ = page.conversations()[1]
        assert question == {"role": "user", "content": "Which orders do I have?"}
        [listed] = turn["tool_calls"]
        assert (turn["content"], listed["name"], listed["arguments"]) == ("", "list_orders", "{}")
        assert result == {"role": "tool", "tool_call_id": listed["id"], "content": LIST}
        assert answer["content"].endswith(f"The tool answered: {LIST}")


async def test_an_approved_call_runs_and_the_answer_goes_on(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        await page.ask("cancel order 2")
        await expect_card(card(page), "Needs your approval", arguments="order2")
        await expect(page.status).to_have_text("Approve or deny the call.")
        await expect(card(page)).to_be_focused()
        await page.page.keyboard.press("Tab")
        await page.page.keyboard.press("Enter")
        result = "Order 2, A kettle with a dial, is cancelled."
        await expect_card(card(page), "Done", arguments="order2", result=result)
        await expect(page.answer().locator(".text")).to_have_text(f"The tool answered: {result}")
        await expect(page.box).to_be_focused()
        await page.ask("list my orders")
        await expect(card(page, 1).locator("pre")).to_contain_text("2. A kettle with a dial, cancelled")
        _, approval, later = page.conversations()
        assert [each["role"] for each in approval] == ["user", "assistant"]
        assert approval[1]["tool_calls"][0]["approved"] is True
        assert [each["role"] for each in later] == ["user", "assistant", "tool", "assistant", "user"]


async def test_a_denied_call_does_not_run_and_the_model_gets_the_reason(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        await page.ask("cancel order 2")
        await card(page).get_by_role("textbox", name="Reason").fill("I need <b>it</b>.")
        await page.page.keyboard.press("Enter")  # in the reason, it denies
        await expect_card(card(page), "Denied: I need <b>it</b>.", arguments="order2")
        words = "The tool answered: The user did not allow this call. I need <b>it</b>."
        await expect(page.answer().locator(".text")).to_have_text(words)
        await page.ask("cancel order 1")
        await card(page, 1).get_by_role("button", name="Deny").click()
        await expect_card(card(page, 1), "Denied", arguments="order1")
        await page.ask("list my orders")
        await expect(card(page, 2).locator("pre")).to_have_text(LIST)


@SOAK
async def test_a_tool_that_fails_shows_its_error(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        await page.ask("cancel order 3")
        await card(page).get_by_role("button", name="Approve").click()
        fault = "Order 3 is delivered, so it cannot be cancelled."
        await expect_card(card(page), "Failed", arguments="order3", result=fault)
        await expect(page.answer().locator(".text")).to_have_text(f"The tool answered: {fault}")


@SOAK
async def test_another_question_leaves_a_call_undecided_and_it_does_not_run(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        await page.ask("cancel order 2")
        await page.ask("list my orders")
        await expect_card(card(page), "Not decided", arguments="order2")
        await expect(card(page).get_by_role("button")).to_have_count(0)
        await expect_card(card(page, 1), "Done", result=LIST)


@SOAK
async def test_stop_cancels_a_tool_that_runs(browser: Browser, slow_server: Server) -> None:
    async with opened_example(browser, slow_server) as page:
        await page.ask("cancel order 2")
        await card(page).get_by_role("button", name="Approve").click()
        await expect_card(card(page), "Running…", arguments="order2")
        await page.button("Stop").click()
        await expect_card(card(page), "No result: it may have run", arguments="order2")
        await expect(page.answer().locator(".note")).to_have_text("Stopped.")
        for _ in range(50):  # until the server has ended the answer, because it has room for one
            await page.ask("list my orders")
            if not await page.log.get_by_text("Too many answers are open").count():
                break
            await page.page.reload()
        await expect(page.log.locator(".call pre").last).to_have_text(LIST)


# -- answers that are not complete


@SOAK
async def test_an_answer_that_is_truncated_after_its_tool_keeps_the_result(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        result = {"type": "tool_result", "id": "call_0", "name": "list_orders", "content": "none"}
        text = {"type": "delta", "text": "\n\nYou ha"}
        extra = {"google": {"thought_signature": "c2lnbmVk"}}
        call_with_state = call(0, "list_orders", "{}", extra=extra)
        await answer_with(page, START, {"type": "reasoning", "text": "Hm."}, call_with_state, STEP, result, text)
        await page.ask("list")
        await expect_card(card(page), "Done", result="none")
        await expect(page.answer().locator(".text")).to_have_text("You ha")
        note = "This answer is incomplete. The connection ended early."
        await expect(page.answer().locator(".note")).to_have_text(note)
        await page.page.unroute("**/api/stream")
        await page.ask("count to 3")
        await expect(page.answer(1)).to_have_text("1 2 3")
        returned = {"id": "call_0", "name": "list_orders", "arguments": "{}", "extra": extra}
        assert page.conversations()[1][1:-1] == [
            {"role": "assistant", "content": "", "reasoning": "Hm.", "tool_calls": [returned], "extra": STEP["extra"]},
            {"role": "tool", "tool_call_id": "call_0", "content": "none"},
            {"role": "assistant", "content": "\n\nYou ha", "tool_calls": []},
        ]


@pytest.mark.parametrize(
    ("records", "state", "arguments"),
    [
        ([call(0, "cancel_order", '{"ord')], "Not run", 'arguments{"ord'),
        ([call(0, "cancel_order", '{"order":2}'), STEP], "No result: it may have run", "order2"),
        (
            [call(0, "cancel_order", "{}"), STEP, {"type": "tool_approval", "id": "call_0", "name": "cancel_order"}],
            "Not decided",
            None,
        ),
    ],
)
@SOAK
async def test_a_call_of_a_truncated_answer_has_no_buttons(
    browser: Browser, server: Server, records: list[dict[str, Any]], state: str, arguments: str | None
) -> None:
    async with opened_example(browser, server) as page:
        await answer_with(page, START, *records)
        await page.ask("cancel order 2")
        await expect_card(card(page), state, **({"arguments": arguments} if arguments else {}))
        await expect(card(page).get_by_role("button")).to_have_count(0)
        await page.page.unroute("**/api/stream")
        await page.ask("count to 3")
        await expect(page.answer(1)).to_have_text("1 2 3")


@SOAK
async def test_a_call_of_an_unknown_tool_ends_the_answer_with_a_note(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        unknown = {**call(0, "refund", "{}"), "executor": None}
        await answer_with(page, START, unknown, {"type": "done", "finish_reason": "tool_calls"})
        await page.ask("refund order 2")
        await expect_card(card(page), "Not run")
        await expect(page.answer().locator(".note")).to_have_text("The model has called a tool that does not exist.")


@SOAK
async def test_the_answer_goes_on_once_each_call_is_decided(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        calls = [call(index, "cancel_order", f'{{"order":{index + 1}}}') for index in (0, 1)]
        waits = [{"type": "tool_approval", "id": f"call_{index}", "name": "cancel_order"} for index in (0, 1)]
        await answer_with(page, START, *calls, STEP, *waits, {"type": "done", "finish_reason": "tool_calls"})
        await page.ask("cancel both")
        await page.page.unroute("**/api/stream")
        await card(page).get_by_role("button", name="Deny").click()
        await expect(card(page, 1)).to_be_focused()
        assert len(page.posts()) == 1
        await card(page, 1).get_by_role("button", name="Approve").click()
        result = "Order 2, A kettle with a dial, is cancelled."
        await expect_card(card(page, 1), "Done", arguments="order2", result=result)
        decisions = [each["approved"] for each in page.conversations()[1][1]["tool_calls"]]
        assert decisions == [False, True]


@SOAK
async def test_a_truncated_answer_and_a_refusal_are_reported(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        await page.choose("fault-drop:3")
        await page.ask("count to 5")
        fault = "The model's server could not be reached or gave a broken answer."
        await expect(page.answer()).to_have_text(f"1 2 3This answer is incomplete. {fault}")
        await page.choose("fault-status:429")
        await page.ask("count to 6")
        await expect(page.answer(1)).to_have_text("There is no answer. The model is busy; try again later.")
        await page.page.context.clear_cookies()
        await page.ask("count to 7")
        await expect(page.answer(2)).to_have_text("There is no answer. Valid credentials are needed.")
        assert [each["content"] for each in page.conversations()[2]] == ["count to 5", "1 2 3", "count to 7"]


async def approval(page: ExamplePage) -> None:
    await page.ask("cancel order 2")


async def results(page: ExamplePage) -> None:
    await page.ask("list my orders")
    await page.ask("cancel order 3")
    await card(page, 1).get_by_role("button", name="Approve").click()
    await expect(card(page, 1).locator(".state")).to_have_text("Failed")
    await page.ask("cancel order 1")
    await card(page, 2).get_by_role("button", name="Deny").click()
    await expect(page.status).to_have_text("Done.")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=SOAK)])
@pytest.mark.parametrize("act", [approval, results])
async def test_axe_finds_nothing(browser: Browser, server: Server, scheme: str, act: Callable[..., Any]) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": 360, "height": 640}}
    async with opened_example(browser, server, **options) as page:
        await act(page)
        assert await page.faults() == []
