"""Answers as server-sent events."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.calls import parse_inference
from services.gateway.exchange import ReplyDelta
from services.gateway.sse import Chunks
from shared.events.base import Operation
from tests.fakes.exchange import FakeExchange, answering
from tests.waiting import until

CHAT = "/v1/chat/completions"
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}


def events(text: str) -> list[Any]:
    """The data of each event; `[DONE]` as it is, comments left out."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    assert all(block.startswith("data: ") for block in blocks)
    data = [block.removeprefix("data: ") for block in blocks]
    return [each if each == "[DONE]" else json.loads(each) for each in data]


def said(chunks: list[Any]) -> str:
    return "".join(
        choice.get("delta", choice).get("content", choice.get("text")) or ""
        for chunk in chunks
        if chunk != "[DONE]"
        for choice in chunk["choices"]
    )


async def test_a_stream_tells_who_speaks_what_is_said_why_it_ended_and_that_it_is_done(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.on_submit = answering(exchange, "Hello", " world")

    answer = await http.post(CHAT, json=QUESTION)
    chunks = events(answer.text)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert exchange.last.chunks
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "Hello"},
        {"content": " world"},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    assert {chunk["object"] for chunk in chunks[:-1]} == {"chat.completion.chunk"}
    assert {chunk["id"] for chunk in chunks[:-1]} == {f"chatcmpl-{exchange.last.id}"}
    assert {chunk["model"] for chunk in chunks[:-1]} == {"qwen-7b"}
    assert chunks[-2]["roundhouse"]["node"] == "local"
    assert chunks[-1] == "[DONE]"


async def test_usage_comes_last_where_it_is_asked_for(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.on_submit = answering(exchange, "Hi")

    body = {**QUESTION, "stream_options": {"include_usage": True}}
    chunks = events((await http.post(CHAT, json=body)).text)

    assert chunks[-2]["choices"] == []
    assert chunks[-2]["usage"]["total_tokens"] == 7
    assert all(chunk["usage"] is None for chunk in chunks[:-2])


async def test_a_completion_streams_text(http: httpx.AsyncClient, exchange: FakeExchange) -> None:
    exchange.on_submit = answering(exchange, "upon", " a time")

    body = {"prompt": "Once ", "stream": True}
    chunks = events((await http.post("/v1/completions", json=body)).text)

    assert said(chunks) == "upon a time"
    assert {chunk["object"] for chunk in chunks[:-1]} == {"text_completion"}
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


async def test_other_parts_of_a_delta_pass_through(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "now", "arguments": "{}"}}

    def on_submit(_: object) -> None:
        exchange.say("", {"reasoning_content": "hm"})
        exchange.say("", {"tool_calls": [call]})
        exchange.complete()

    exchange.on_submit = on_submit

    chunks = events((await http.post(CHAT, json=QUESTION)).text)

    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[1:3]]
    assert deltas == [{"reasoning_content": "hm"}, {"tool_calls": [call]}]


async def test_the_headers_of_a_stream_say_who_answers(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.on_submit = answering(exchange, model="tiny")

    answer = await http.post(CHAT, json=QUESTION)

    assert answer.headers["x-roundhouse-request-id"] == exchange.last.id
    assert answer.headers["x-roundhouse-model"] == "tiny"
    assert answer.headers["x-roundhouse-node"] == "local"
    assert answer.headers["x-roundhouse-noise"] == "true"
    assert "x-roundhouse-degraded" not in answer.headers


async def test_a_refusal_before_the_first_piece_is_an_http_status(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.on_submit = lambda _: exchange.end("rejected", reason="saturated", message="full")

    answer = await http.post(CHAT, json=QUESTION)

    assert answer.status_code == 429
    assert answer.json()["error"]["message"] == "full"
    assert answer.headers["content-type"] == "application/json"


async def test_a_failure_after_the_first_piece_is_an_event_and_never_done(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    def on_submit(_: object) -> None:
        exchange.say("Hel")
        exchange.end("failed", reason="after_first_byte", message="the node is gone")

    exchange.on_submit = on_submit

    answer = await http.post(CHAT, json=QUESTION)
    chunks = events(answer.text)

    assert answer.status_code == 200
    assert chunks[-1]["error"]["code"] == "after_first_byte"
    assert "[DONE]" not in chunks


async def test_while_nothing_is_said_comments_keep_the_connection_alive(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    asking = asyncio.create_task(http.post(CHAT, json=QUESTION))
    await until(lambda: exchange.submitted)
    await until(lambda: exchange.looked_up >= 2)  # which it is at each quiet moment
    exchange.say("at last")
    exchange.complete("at last")

    text = (await asking).text

    assert text.startswith(": keep-alive\n\n")
    assert said(events(text)) == "at last"


async def test_after_a_sign_of_life_a_refusal_is_an_event(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    headers = {"X-Roundhouse-Deadline-S": "0.1"}

    answer = await http.post(CHAT, json=QUESTION, headers=headers)

    assert answer.status_code == 200
    assert events(answer.text)[-1]["error"]["code"] == "deadline_exceeded"
    assert len(exchange.cancelled) == 1


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
async def test_what_was_not_sent_piece_by_piece_comes_at_the_end(
    http: httpx.AsyncClient, exchange: FakeExchange, path: str
) -> None:
    def on_submit(_: object) -> None:
        exchange.say("Hello")
        exchange.complete("Hello world", complete=False)

    exchange.on_submit = on_submit

    chunks = events((await http.post(path, json={**QUESTION, "prompt": "x"})).text)

    assert said(chunks) == "Hello world"
    assert chunks[-1] == "[DONE]"


async def test_an_answer_without_pieces_is_one_piece(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.on_submit = lambda _: exchange.complete("all at once")

    assert said(events((await http.post(CHAT, json=QUESTION)).text)) == "all at once"


async def test_an_answer_whose_pieces_do_not_fit_is_an_error_and_not_cut_short(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    def on_submit(_: object) -> None:
        exchange.say("Good")
        exchange.complete("Hello world", complete=False)

    exchange.on_submit = on_submit

    chunks = events((await http.post(CHAT, json=QUESTION)).text)

    assert chunks[-1]["error"]["code"] == "answer_incomplete"


@given(
    answer=st.text(max_size=40),
    cut=st.integers(0, 40),
    operation=st.sampled_from([Operation.CHAT, Operation.COMPLETION]),
)
def test_pieces_and_rest_always_make_the_whole_answer(
    answer: str, cut: int, operation: Operation
) -> None:
    raw = b'{"prompt": "x", "messages": [{"role": "user"}], "stream": true}'
    chunks = Chunks(parse_inference(operation, {}, raw), "m", 0)
    choice = {"text": answer, "message": {"role": "assistant", "content": answer}}

    piece = chunks.piece(ReplyDelta(answer[:cut]))
    rest = chunks.rest({"choices": [choice]})

    assert rest is not None
    assert said(events((piece + rest).decode())) == answer
    assert chunks.content == answer
