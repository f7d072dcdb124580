"""Plain answers of the three endpoints that ask a model."""

import asyncio
import base64
from array import array
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from services.gateway.exchange import RequestState
from shared.events.base import Operation
from tests.fakes.exchange import FakeExchange, answering
from tests.waiting import until

CHAT = "/v1/chat/completions"
QUESTION = {"messages": [{"role": "user", "content": "Hello"}]}


async def test_a_chat_is_answered_with_the_engine_s_answer(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.on_submit = answering(exchange, "Hello", " world")

    answer = await http.post(CHAT, json={**QUESTION, "model": "qwen-7b"})

    body = answer.json()
    assert answer.status_code == 200
    assert body["object"] == "chat.completion"
    assert body["id"] == f"chatcmpl-{exchange.last.id}"
    assert body["choices"][0]["message"]["content"] == "Hello world"
    assert body["usage"]["total_tokens"] == 7
    assert exchange.last.model == "qwen-7b"
    assert exchange.last.operation is Operation.CHAT
    assert not exchange.last.chunks


async def test_an_answer_says_how_it_came_about(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.on_submit = answering(
        exchange, "x", model="tiny", noise=True, degraded=True, attempt=2
    )

    answer = await http.post(CHAT, json=QUESTION)

    assert answer.json()["roundhouse"] == {
        "request_id": exchange.last.id,
        "node": "local",
        "attempt": 2,
        "timings": {"queue_ms": 3, "prefill_ms": 12.5},
        "degraded": True,
        "noise": True,
    }
    headers = {
        name: answer.headers.get(f"x-roundhouse-{name}")
        for name in ("request-id", "model", "node", "degraded", "noise")
    }
    assert headers == {
        "request-id": exchange.last.id,
        "model": "tiny",
        "node": "local",
        "degraded": "true",
        "noise": "true",
    }
    assert answer.headers.get_list("server") == ["roundhouse"]


async def test_a_completion_is_answered(http: httpx.AsyncClient, exchange: FakeExchange) -> None:
    exchange.on_submit = answering(exchange, "upon a time")

    answer = await http.post("/v1/completions", json={"prompt": ["Once "], "model": "auto"})

    assert answer.json()["object"] == "text_completion"
    assert answer.json()["choices"][0]["text"] == "upon a time"
    assert exchange.last.operation is Operation.COMPLETION
    assert exchange.last.input == {"prompt": "Once ", "model": "auto"}


async def test_embeddings_come_as_numbers_or_as_base64(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.on_submit = answering(exchange)
    body = {"model": "task/embed", "input": ["a", "b"], "dimensions": 3}

    as_numbers = (await http.post("/v1/embeddings", json=body)).json()
    as_text = (await http.post("/v1/embeddings", json={**body, "encoding_format": "base64"})).json()

    assert [each["embedding"] for each in as_numbers["data"]] == [[0.5, -1.0, 0], [0.5, -1.0, 1]]
    decoded = array("f", base64.b64decode(as_text["data"][1]["embedding"]))
    assert list(decoded) == [0.5, -1.0, 1.0]
    assert exchange.last.task == "embed"
    assert exchange.last.input == body


async def test_dimensions_that_a_model_cannot_give_are_refused_and_not_ignored(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.on_submit = answering(exchange)

    answer = await http.post("/v1/embeddings", json={"input": "a", "dimensions": 2})

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "dimensions_unsupported"


@pytest.mark.parametrize(
    ("outcome", "data", "status", "code"),
    [
        ("rejected", {"reason": "unknown_model"}, 404, "model_not_found"),
        ("rejected", {"reason": "saturated", "retry_after_s": 7.0}, 429, "saturated"),
        ("failed", {"reason": "deadline"}, 504, "deadline_exceeded"),
        ("failed", {"reason": "attempts_exhausted", "last_reason": "hung"}, 502, "hung"),
        ("cancelled", {}, 499, "cancelled"),
    ],
)
async def test_a_request_that_ends_otherwise_is_an_openai_error(
    http: httpx.AsyncClient,
    exchange: FakeExchange,
    outcome: Any,
    data: dict[str, Any],
    status: int,
    code: str,
) -> None:
    exchange.on_submit = lambda _: exchange.end(outcome, message="because", **data)

    answer = await http.post(CHAT, json=QUESTION)

    assert answer.status_code == status
    assert answer.json()["error"]["message"] == "because"
    assert answer.json()["error"]["code"] == code
    assert answer.headers["x-roundhouse-request-id"] == exchange.last.id
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    assert exchange.cancelled == []


async def test_a_full_store_asks_to_come_back_later(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.full = True

    answer = await http.post(CHAT, json=QUESTION)

    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert exchange.open_streams == 0


async def test_a_store_that_cannot_be_reached_is_unavailable(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.down = True

    answer = await http.post(CHAT, json=QUESTION)

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "store_unavailable"


async def test_a_store_that_is_away_for_a_while_costs_no_answer(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    asking = asyncio.create_task(http.post(CHAT, json=QUESTION))
    await until(lambda: exchange.submitted)
    exchange.down = True
    await until(lambda: exchange.looked_up >= 2)
    exchange.down = False
    exchange.complete("back")

    assert (await asking).status_code == 200


async def test_without_a_deadline_of_its_own_a_call_has_that_of_its_record(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    asking = asyncio.create_task(http.post(CHAT, json=QUESTION))
    await until(lambda: exchange.submitted)
    exchange.states[exchange.last.id] = RequestState("waiting", deadline_s=0.1)

    assert (await asking).status_code == 504


async def test_when_the_router_says_nothing_the_deadline_ends_the_wait_and_the_work(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    answer = await http.post(CHAT, json=QUESTION, headers={"X-Roundhouse-Deadline-S": "0.1"})

    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    assert [request_id for request_id, _ in exchange.cancelled] == [exchange.last.id]
    assert exchange.open_streams == 0


async def test_answers_are_counted(http: httpx.AsyncClient, exchange: FakeExchange) -> None:
    def count() -> float:
        labels = {"operation": "embedding", "status": "404"}
        return REGISTRY.get_sample_value("roundhouse_gateway_answers_total", labels) or 0

    before = count()
    exchange.on_submit = lambda _: exchange.end("rejected", reason="unknown_model", message="no")

    await http.post("/v1/embeddings", json={"input": "x", "model": "nobody"})

    assert count() == before + 1
    assert REGISTRY.get_sample_value("roundhouse_gateway_waiting_calls") == 0
