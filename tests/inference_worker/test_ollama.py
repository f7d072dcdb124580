"""Ollama's ways, and that they neither surprise nor block us."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic
from typing import Any

import pytest

from services.inference_worker.backends.ollama import Ollama
from services.inference_worker.backends.port import BackendError, Call, Delta, Profile
from shared.config.models import ModelConfig
from shared.events.base import Operation
from shared.events.inference import FailureReason
from tests.fakes import ollama as fake
from tests.fakes.ollama_scheduler import Scheduler
from tests.fakes.serving import serving
from tests.servers import free_port
from tests.waiting import until

SMALL = Profile("small:latest", 2048, 2)


class World:
    """A fake Ollama and the backend for it."""

    def __init__(self, engine: fake.Ollama, url: str, **models: ModelConfig) -> None:
        self.engine = engine
        self.url = url
        self.backend = Ollama(url, models, unload_s=0.5)

    @property
    def counts(self) -> dict[str, int]:
        return self.engine.scheduler.counts


@pytest.fixture
async def world() -> AsyncIterator[World]:
    engine = fake.Ollama(Scheduler(load_s=0.05))
    async with serving(engine.app()) as url:
        world = World(engine, url)
        yield world
        await world.backend.close()


def chat(**body: Any) -> Call:
    return Call(SMALL, Operation.CHAT, {"messages": [{"role": "user", "content": "hi"}], **body})


async def run(backend: Ollama, call: Call) -> list[Any]:
    return [piece async for piece in backend.stream(call)]


async def test_models_are_described_by_what_ollama_shows_of_them(world: World) -> None:
    models = {model.name: model for model in await world.backend.models()}

    small = models["small:latest"]
    assert small.context_tokens == 8192
    assert small.need_mib == 64 + 16 + 64, "weights, cache and buffers"
    assert small.slots == 1, "all that Ollama runs at a time unless it is told otherwise"
    assert small.digest is not None
    assert models["embedder:latest"].operations == (Operation.EMBEDDING,)
    assert models["embedder:latest"].context_tokens == 512


async def test_a_model_that_ollama_runs_in_its_cloud_is_not_ours(world: World) -> None:
    assert "far:cloud" not in {model.name for model in await world.backend.models()}
    with pytest.raises(BackendError) as refused:
        await world.backend.load(Profile("far:cloud", 2048, 1))

    assert refused.value.reason is FailureReason.REFUSED


async def test_a_configured_model_has_its_own_name_and_profile(world: World) -> None:
    settings = ModelConfig(engine="ollama", source="small", context_tokens=1024, slots=3)
    backend = Ollama(world.url, {"writer": settings})

    models = {model.name: model for model in await backend.models()}
    await backend.load(Profile("writer", 1024, 3))

    assert set(models) == {"writer", "embedder:latest"}
    assert (models["writer"].context_tokens, models["writer"].slots) == (1024, 3)
    assert [each.model for each in await backend.resident()] == ["writer"]
    assert world.engine.scheduler.runners["small:latest"].num_ctx == 1024
    await backend.close()


async def test_requests_never_make_it_reload(world: World) -> None:
    await world.backend.load(SMALL)

    for body in ({}, {"num_ctx": 512}, {"options": {"num_ctx": 512}}, {"max_tokens": 5}):
        await run(world.backend, chat(**body))

    assert world.counts["loads"] == 1
    assert world.counts["reloads"] == 0


async def test_a_load_outlives_the_caller_who_gave_up(world: World) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            await world.backend.load(SMALL)

    await world.backend.load(SMALL)

    assert world.counts == {"loads": 1, "reloads": 0, "aborted_loads": 0, "abandoned": 0}


async def test_while_it_loads_the_last_known_answer_holds(world: World) -> None:
    await world.backend.load(SMALL)
    await world.backend.resident()
    world.engine.scheduler.load_s = 30
    load = asyncio.create_task(world.backend.load(Profile("embedder:latest", 512, 1)))
    await until(lambda: world.counts["loads"] == 2)
    began_s = monotonic()

    resident = await world.backend.resident()

    assert [each.model for each in resident] == ["small:latest"]
    assert monotonic() - began_s < 2.5
    load.cancel()


async def test_an_unload_ends_a_load_that_is_still_going_on(world: World) -> None:
    world.engine.scheduler.load_s = 30
    load = asyncio.create_task(world.backend.load(SMALL))
    await until(lambda: world.counts["loads"] == 1)

    await world.backend.unload("small:latest")

    with pytest.raises(BackendError, match="unloaded meanwhile"):
        await load
    assert world.counts["aborted_loads"] == 1


async def test_an_unload_returns_only_when_the_model_is_gone(world: World) -> None:
    world.engine.scheduler.unload_s = 0.2
    await world.backend.load(SMALL)

    await world.backend.unload("small:latest")

    assert not world.engine.scheduler.runners


async def test_a_model_that_does_not_go_is_reported_as_hung(world: World) -> None:
    await world.backend.load(SMALL)
    world.engine.faults.set("stuck_unload")

    with pytest.raises(BackendError) as stuck:
        await world.backend.unload("small:latest")

    assert stuck.value.reason is FailureReason.HUNG


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("oom", FailureReason.OUT_OF_MEMORY), ("http500", FailureReason.CRASHED)],
)
async def test_a_failed_load_says_why(world: World, fault: str, reason: FailureReason) -> None:
    world.engine.faults.set(fault, times=1)

    with pytest.raises(BackendError) as failed:
        await world.backend.load(SMALL)

    assert failed.value.reason is reason
    await world.backend.load(SMALL)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("crash", FailureReason.CRASHED),
        ("error_line", FailureReason.CRASHED),
        ("http500", FailureReason.CRASHED),
        ("busy", FailureReason.REFUSED),
    ],
)
async def test_a_failed_answer_says_why(world: World, fault: str, reason: FailureReason) -> None:
    await world.backend.load(SMALL)
    world.engine.faults.set(fault)

    with pytest.raises(BackendError) as failed:
        await run(world.backend, chat())

    assert failed.value.reason is reason


@pytest.mark.parametrize("fault", ["hang", "stall"])
async def test_an_answer_that_stops_coming_can_be_left(world: World, fault: str) -> None:
    await world.backend.load(SMALL)
    world.engine.faults.set(fault)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await run(world.backend, chat())

    await until(lambda: world.counts["abandoned"] == 1)


async def test_a_load_that_a_request_had_to_wait_for_is_reported(world: World) -> None:
    world.engine.scheduler.load_s = 0.2

    cold, warm = [(await run(world.backend, chat()))[-1] for _ in range(2)]

    assert cold.load_ms >= 200
    assert warm.load_ms is None


async def test_thinking_and_tool_calls_arrive_as_openai_words_them(world: World) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {}}}

    pieces = await run(world.backend, chat(tools=[tool], reasoning_effort="low"))

    extras = [piece.extra for piece in pieces if isinstance(piece, Delta) and piece.extra]
    keys = {key for extra in extras for key in extra}
    assert keys == {"reasoning_content", "tool_calls"}
    assert pieces[-1].finish_reason == "tool_calls"


async def test_one_model_that_cannot_be_shown_does_not_hide_the_others(world: World) -> None:
    world.engine.faults.set("unshown", "small:latest")

    assert [model.name for model in await world.backend.models()] == ["embedder:latest"]


async def test_another_server_is_not_taken_for_ollama(world: World) -> None:
    backend = Ollama(f"{world.url}/elsewhere", {})

    with pytest.raises(BackendError) as refused:
        await backend.models()

    assert refused.value.reason is FailureReason.REFUSED
    await backend.close()


async def test_a_configured_model_that_was_not_pulled_is_said_to_be_missing(world: World) -> None:
    backend = Ollama(world.url, {"qwen": ModelConfig(engine="ollama", source="qwen3:14b")})

    await backend.models()
    assert backend.left_out() == {
        "qwen": f"Ollama at {world.url} has no qwen3:14b; fetch it with: ollama pull qwen3:14b"
    }
    await backend.close()


async def test_an_ollama_that_is_away_says_nothing_of_its_models() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    backend = Ollama(url, {"qwen": ModelConfig(engine="ollama")})

    with pytest.raises(BackendError):
        await backend.models()

    assert backend.left_out() == {}
    await backend.close()
