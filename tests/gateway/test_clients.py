"""The OpenAI SDK, as our users call it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from shared.events.base import Priority
from tests.fakes.exchange import answering
from tests.gateway.conftest import Served
from tests.waiting import until

MESSAGES: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture
async def client(served: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as it:
        yield it


async def test_a_chat(served: Served, client: openai.AsyncOpenAI) -> None:
    served.exchange.on_submit = answering(served.exchange, "Hello", " world")

    answer = await client.chat.completions.create(model="auto", messages=MESSAGES)

    assert answer.choices[0].message.content == "Hello world"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 7
    assert answer.model_extra is not None
    assert answer.model_extra["roundhouse"]["node"] == "local"


async def test_a_streamed_chat(served: Served, client: openai.AsyncOpenAI) -> None:
    served.exchange.on_submit = answering(served.exchange, "Hello", " world")

    stream = await client.chat.completions.create(
        model="auto", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello world"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None


async def test_hints_in_the_extra_body_and_in_headers(
    served: Served, client: openai.AsyncOpenAI
) -> None:
    served.exchange.on_submit = answering(served.exchange, "x")

    await client.chat.completions.create(
        model="task/report",
        messages=MESSAGES,
        extra_body={"roundhouse": {"deadline_s": 30, "priority": "low"}},
        extra_headers={"X-Roundhouse-Priority": "HIGH"},
    )

    assert served.exchange.last.task == "report"
    assert served.exchange.last.deadline_ms == 30_000
    assert served.exchange.last.priority is Priority.HIGH


async def test_completions_embeddings_and_models(
    served: Served, client: openai.AsyncOpenAI
) -> None:
    served.exchange.on_submit = answering(served.exchange, "upon a time")

    completion = await client.completions.create(model="auto", prompt="Once")
    pieces = await client.completions.create(model="auto", prompt="Once", stream=True)
    text = "".join([piece.choices[0].text async for piece in pieces])
    vectors = await client.embeddings.create(model="auto", input=["a", "b"])
    models = [model.id async for model in client.models.list()]
    model = await client.models.retrieve("qwen-7b")

    assert completion.choices[0].text == text == "upon a time"
    assert vectors.data[1].embedding == [0.5, -1.0, 1.0]
    assert models[0] == "auto"
    assert model.owned_by == "llama_cpp"


@pytest.mark.parametrize(
    ("outcome", "reason", "exception"),
    [
        ("rejected", "invalid", openai.BadRequestError),
        ("rejected", "unknown_model", openai.NotFoundError),
        ("rejected", "conflict", openai.ConflictError),
        ("rejected", "saturated", openai.RateLimitError),
        ("failed", "deadline", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_refusals_are_its_exceptions(
    served: Served,
    client: openai.AsyncOpenAI,
    outcome: Any,
    reason: str,
    exception: type[openai.APIStatusError],
    stream: bool,
) -> None:
    served.exchange.on_submit = lambda _: served.exchange.end(
        outcome, reason=reason, message="because"
    )

    with pytest.raises(exception) as caught:
        await client.chat.completions.create(model="auto", messages=MESSAGES, stream=stream)

    assert caught.value.message.endswith("because'}") or "because" in caught.value.message
    assert caught.value.request_id is None


async def test_a_failure_in_the_middle_of_a_stream_is_an_exception(
    served: Served, client: openai.AsyncOpenAI
) -> None:
    def on_submit(_: object) -> None:
        served.exchange.say("Hel")
        served.exchange.end("failed", reason="after_first_byte", message="the node is gone")

    served.exchange.on_submit = on_submit
    stream = await client.chat.completions.create(model="auto", messages=MESSAGES, stream=True)

    with pytest.raises(openai.APIError, match="the node is gone"):
        _ = [chunk async for chunk in stream]


async def test_what_cannot_succeed_is_not_repeated_and_what_may_is(served: Served) -> None:
    ends = iter([("saturated", 0.01), ("deadline", None)])

    def on_submit(_: object) -> None:
        reason, retry_after_s = next(ends)
        served.exchange.end("failed", reason=reason, message="", retry_after_s=retry_after_s)

    served.exchange.on_submit = on_submit
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="auto", messages=MESSAGES)

    assert len(served.exchange.submitted) == 2


async def test_the_synchronous_client(served: Served) -> None:
    served.exchange.on_submit = answering(served.exchange, "Hello", " world")

    def talk() -> tuple[str | None, str]:
        with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
            whole = client.chat.completions.create(model="auto", messages=MESSAGES)
            stream = client.chat.completions.create(model="auto", messages=MESSAGES, stream=True)
            pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
        return whole.choices[0].message.content, "".join(pieces)

    assert await asyncio.to_thread(talk) == ("Hello world", "Hello world")


async def test_leaving_a_stream_early_cancels_the_work(
    served: Served, client: openai.AsyncOpenAI
) -> None:
    def on_submit(_: object) -> None:
        served.exchange.say("Hel")

    served.exchange.on_submit = on_submit
    stream = await client.chat.completions.create(model="auto", messages=MESSAGES, stream=True)
    await anext(stream.__aiter__())
    await stream.close()

    await until(lambda: served.exchange.cancelled)
