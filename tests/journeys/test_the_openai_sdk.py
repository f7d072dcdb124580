"""The OpenAI SDK as users call it, before real services; the text comes back as it was sent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import openai
import pytest

from shared.bus.configuration import store_configuration
from shared.config import Config, NodeConfig
from shared.events.inference import InferenceCancelled, InferenceCompleted, InferenceRejected
from tests.journeys import checker
from tests.journeys.conftest import CONFIG, Stage
from tests.waiting import until

SAID = "one two three four"
MINUTE = " ".join(["word"] * 300)
"""A minute of the slow model."""

SLOW_TO_GIVE_UP = {"node_lost_s": 6.0, "flight_lease_s": 6.0, "router_lease_s": 3.0}
PATIENT = CONFIG.model_copy(
    update={
        "attempts": Config().attempts,
        "timing": CONFIG.timing.model_copy(update=SLOW_TO_GIVE_UP),
        "nodes": {"box": NodeConfig(memory_mib=2000, discover=False)},
    }
)
"""A machine that stalls for a moment is no reason for another attempt."""

Call = Callable[[openai.OpenAI], Any]


EIGHT: Any = {"max_tokens": 8, "extra_body": {"ignore_eos": True}}
"""Tokens of noise: no fewer, whichever they are."""


def asking(text: str, model: str = "slow") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


@pytest.fixture
async def address(stage: Stage) -> str:
    """Of a gateway that knows a worker's models."""
    await store_configuration(stage.client, checker.KEYS, PATIENT, "test")
    await stage.router()
    await stage.worker("n1", "echo", "slow")
    address = f"{await stage.gateway()}/v1"
    async with openai.AsyncOpenAI(base_url=address, api_key="none") as client:
        await until(lambda: offered(client), timeout_s=15)
    return address


@pytest.fixture
async def client(address: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=address, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def synchronous(address: str) -> Iterator[Callable[[Call], Awaitable[Any]]]:
    """Runs a call of the synchronous client beside the test's loop."""
    with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
        yield lambda call: asyncio.to_thread(call, client)


async def offered(client: openai.AsyncOpenAI) -> list[str]:
    return [model.id async for model in client.models.list()]


async def ended(stage: Stage, **counts: int) -> None:
    """Once so many ended so, each of all requests must have ended once, and hold no slot."""
    events = {
        "completed": InferenceCompleted,
        "cancelled": InferenceCancelled,
        "rejected": InferenceRejected,
    }
    wanted = {event.type: counts.get(name, 0) for name, event in events.items()}

    async def all_did() -> bool:
        outcomes = await checker.outcomes(stage.client)
        flying = await stage.client.zcard(checker.KEYS.flight)
        return {name: outcomes[name] for name in wanted} == wanted and not flying

    await until(all_did, timeout_s=20)
    await checker.everything_ended_once(stage.client, await stage.stories())


async def test_a_chat_plain_and_streamed(stage: Stage, client: openai.AsyncOpenAI) -> None:
    plain = await client.chat.completions.create(**asking(SAID))
    stream = await client.chat.completions.create(
        **asking(SAID), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert plain.choices[0].message.content == SAID
    assert plain.usage is not None
    assert plain.usage.completion_tokens == 4
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(piece or "" for piece in pieces) == SAID
    assert len([piece for piece in pieces if piece]) > 1, "piece by piece"
    assert chunks[-1].usage is not None
    await ended(stage, completed=2)


async def test_the_synchronous_client(
    stage: Stage, synchronous: Callable[[Call], Awaitable[Any]]
) -> None:
    def streamed(client: openai.OpenAI) -> str:
        stream = client.chat.completions.create(**asking(SAID), stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    plain = await synchronous(lambda client: client.chat.completions.create(**asking(SAID)))

    assert plain.choices[0].message.content == SAID
    assert await synchronous(streamed) == SAID
    models = await synchronous(lambda client: [model.id for model in client.models.list()])
    assert models == ["auto", "echo", "slow"]
    with pytest.raises(openai.NotFoundError):
        await synchronous(lambda client: client.models.retrieve("no-such-model"))
    await ended(stage, completed=2)


async def test_many_at_once_each_get_their_own_answer(
    stage: Stage, client: openai.AsyncOpenAI
) -> None:
    texts = [f"this is number {number}" for number in range(40)]

    answers = await asyncio.gather(
        *[client.chat.completions.create(**asking(text, "echo")) for text in texts]
    )

    assert [answer.choices[0].message.content for answer in answers] == texts
    await ended(stage, completed=40)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_model_that_nobody_offers_is_not_found(
    stage: Stage, client: openai.AsyncOpenAI, stream: bool
) -> None:
    assert await offered(client) == ["auto", "echo", "slow"]

    with pytest.raises(openai.NotFoundError) as refused:
        await client.chat.completions.create(**asking(SAID, "no-such-model"), stream=stream)

    assert refused.value.code == "model_not_found"
    assert "no-such-model" in refused.value.message
    await ended(stage, rejected=1)


async def test_a_stream_that_is_left_ends_its_request(
    stage: Stage, client: openai.AsyncOpenAI
) -> None:
    stream = await client.chat.completions.create(**asking(MINUTE), stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break

    await stream.close()

    await ended(stage, cancelled=1)


async def test_a_stream_that_the_synchronous_client_leaves_ends_its_request(
    stage: Stage, synchronous: Callable[[Call], Awaitable[Any]]
) -> None:
    def leave(client: openai.OpenAI) -> None:
        with client.chat.completions.create(**asking(MINUTE), stream=True) as stream:
            assert next(stream).choices[0].delta.role == "assistant"

    await synchronous(leave)

    await ended(stage, cancelled=1)


async def test_a_call_that_is_given_up_ends_its_request(
    stage: Stage, client: openai.AsyncOpenAI
) -> None:
    with pytest.raises(openai.APITimeoutError):
        await client.with_options(timeout=1.0).chat.completions.create(**asking(MINUTE))

    await ended(stage, cancelled=1)


async def test_a_real_engine_chats_completes_and_embeds(stage: Stage) -> None:
    await store_configuration(stage.client, checker.KEYS, PATIENT, "test")
    await stage.router()
    await stage.real_worker("box")
    address = f"{await stage.gateway()}/v1"

    async with openai.AsyncOpenAI(base_url=address, api_key="none") as client:
        chat = await client.chat.completions.create(**asking("Hello", "tiny"), **EIGHT)
        stream = await client.chat.completions.create(
            **asking("Hello", "auto"), **EIGHT, stream=True
        )
        streamed = [chunk.choices[0] async for chunk in stream]
        completion = await client.completions.create(model="tiny", prompt="Once", **EIGHT)
        vectors = await client.embeddings.create(model="tiny", input=["one", "two", "one"])

    assert chat.usage is not None
    assert chat.usage.completion_tokens == 8
    assert chat.choices[0].message.content
    assert "".join(choice.delta.content or "" for choice in streamed)
    assert streamed[-1].finish_reason == "length"
    assert completion.choices[0].text
    first, second, third = [each.embedding for each in vectors.data]
    assert len(first) == len(second)
    assert first == pytest.approx(third, abs=1e-5)
    assert first != pytest.approx(second, abs=1e-3)
    await ended(stage, completed=4)
