"""Requests that nobody waits for, and requests that come twice."""

import asyncio
from typing import Any

import httpx
import pytest

from shared.events.base import Priority
from tests.fakes.exchange import FakeExchange, answering
from tests.waiting import until

CHAT = "/v1/chat/completions"
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}


async def submitted(http: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await http.post("/v1/requests", json={"input": QUESTION}, headers=headers)


async def test_a_request_is_taken_with_its_id(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    body = {"input": QUESTION, "task": "report", "priority": "LOW", "deadline_ms": 60_000}

    answer = await http.post("/v1/requests", json=body)

    request_id = exchange.last.id
    assert answer.status_code == 202
    assert answer.json() == {"id": request_id, "object": "request", "state": "submitted"}
    assert answer.headers["location"] == f"/v1/requests/{request_id}"
    assert answer.headers["x-roundhouse-request-id"] == request_id
    assert exchange.last.task == "report"
    assert exchange.last.priority is Priority.LOW
    assert exchange.last.deadline_ms == 60_000
    assert not exchange.last.reply


async def test_a_request_shows_its_state_and_at_last_its_result(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    location = (await submitted(http)).headers["location"]

    early = (await http.get(location)).json()
    exchange.complete("done")
    late = (await http.get(location)).json()

    assert (early["state"], early["result"], early["error"]) == ("submitted", None, None)
    assert late["state"] == "completed"
    assert late["timestamps_ms"] == {"admitted": 1, "finished": 2}
    assert late["result"]["choices"][0]["message"]["content"] == "done"
    assert late["result"]["roundhouse"]["attempt"] == 1


async def test_a_request_that_failed_shows_why(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    location = (await submitted(http)).headers["location"]
    exchange.end("failed", reason="deadline", message="too late")

    status = (await http.get(location)).json()

    assert status["state"] == "failed"
    assert status["error"]["code"] == "deadline_exceeded"
    assert status["error"]["message"] == "too late"


async def test_a_request_can_be_cancelled_until_it_has_ended(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    location = (await submitted(http)).headers["location"]

    first = await http.delete(location)
    exchange.complete("done")
    second = await http.delete(location)

    assert (first.status_code, first.json()["state"]) == (202, "submitted")
    assert (second.status_code, second.json()["state"]) == (202, "completed")
    assert len(exchange.cancelled) == 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_request_is_not_found(http: httpx.AsyncClient, method: str) -> None:
    answer = await http.request(method, "/v1/requests/nobody")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "request_not_found"


async def test_a_store_that_cannot_be_reached_is_said_everywhere(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.down = True

    answers = [
        await submitted(http),
        await http.get("/v1/requests/r1"),
        await http.delete("/v1/requests/r1"),
    ]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert all("retry-after" in answer.headers for answer in answers)


async def test_a_repeated_key_gets_the_first_answer(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.on_submit = answering(exchange, "first")
    keyed = {"Idempotency-Key": "order 17"}

    first = await http.post(CHAT, json=QUESTION, headers=keyed)
    second = await http.post(CHAT, json=QUESTION, headers=keyed)
    streamed = await http.post(CHAT, json={**QUESTION, "stream": True}, headers=keyed)

    assert first.json() == second.json()
    assert '"content":"first"' in streamed.text
    assert len({request.id for request in exchange.submitted}) == 1


async def test_a_key_for_other_content_is_a_conflict_that_leaves_the_first_alone(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    keyed = {"Idempotency-Key": "order 17"}
    asking = asyncio.create_task(http.post(CHAT, json=QUESTION, headers=keyed))
    await until(lambda: exchange.submitted)

    other = await http.post(CHAT, json={**QUESTION, "seed": 1}, headers=keyed)
    exchange.complete("first")

    assert other.status_code == 409
    assert other.json()["error"]["code"] == "idempotency_conflict"
    assert other.headers["x-should-retry"] == "false"
    assert (await asking).json()["choices"][0]["message"]["content"] == "first"


async def test_a_key_holds_for_submitted_requests_too(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    first = await submitted(http, **{"Idempotency-Key": "k"})
    again = await submitted(http, **{"Idempotency-Key": "k"})
    body = {"input": "something else"}
    other = await http.post("/v1/requests", json=body, headers={"Idempotency-Key": "k"})

    assert first.json()["id"] == again.json()["id"]
    assert other.status_code == 409


async def test_a_key_that_was_refused_for_lack_of_room_may_come_again(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    keyed = {"Idempotency-Key": "order 17"}
    exchange.on_submit = lambda _: exchange.end(
        "rejected", reason="saturated", message="full", retry_after_s=2.0
    )
    refused = await http.post(CHAT, json=QUESTION, headers=keyed)
    exchange.on_submit = answering(exchange, "after all")

    again = await http.post(CHAT, json=QUESTION, headers=keyed)
    third = await http.post(CHAT, json=QUESTION, headers=keyed)

    assert refused.status_code == 429
    assert again.json()["choices"][0]["message"]["content"] == "after all"
    assert again.json() == third.json()
    assert len({request.id for request in exchange.submitted}) == 2


async def test_a_key_whose_request_was_not_taken_is_free_again(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.full = True
    refused = await submitted(http, **{"Idempotency-Key": "k"})
    exchange.full = False
    body = {"input": "something else"}

    other = await http.post("/v1/requests", json=body, headers={"Idempotency-Key": "k"})

    assert (refused.status_code, other.status_code) == (429, 202)
