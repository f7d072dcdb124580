"""Servers that speak OpenAI's protocol, each in its own dialect."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest
from aiohttp import web

from services.inference_worker.backends.openai import OpenAI
from services.inference_worker.backends.port import BackendError, Call, Delta, Profile
from shared.config.models import ModelConfig
from shared.events.base import Operation
from shared.events.inference import FailureReason
from tests.fakes.openai_engine import Engine
from tests.fakes.serving import serving
from tests.servers import free_port
from tests.waiting import until

PROFILE = Profile("scripted", 4096, 2)


class World:
    def __init__(self, engine: Engine, url: str) -> None:
        self.engine = engine
        self.url = url
        self.backend = OpenAI(url, {})


@pytest.fixture
async def world() -> AsyncIterator[World]:
    engine = Engine()
    async with serving(engine.app()) as url:
        world = World(engine, url)
        yield world
        await world.backend.close()


def chat(limit: int | None = None, **body: Any) -> Call:
    messages = [{"role": "user", "content": "hi"}]
    return Call(PROFILE, Operation.CHAT, {"messages": messages, **body}, limit)


async def run(backend: OpenAI, call: Call) -> list[Any]:
    return [piece async for piece in backend.stream(call)]


async def test_vllm_tells_its_context_length(world: World) -> None:
    world.engine.context_tokens = 32_768

    (model,) = await world.backend.models()

    assert model.context_tokens == 32_768
    assert not model.loadable
    assert model.need_mib == 0


async def test_what_an_engine_does_not_tell_the_configuration_does(world: World) -> None:
    world.engine.models = ("/weights/qwen", "nomic-embed-text")
    settings = ModelConfig(engine="openai", source="/weights/qwen", slots=9)
    backend = OpenAI(world.url, {"qwen": settings})

    models = {model.name: model for model in await backend.models()}
    await run(backend, Call(Profile("qwen", 1, 1), Operation.CHAT, chat().input))

    assert models["qwen"].slots == 9
    assert models["nomic-embed-text"].operations == (Operation.EMBEDDING,)
    assert world.engine.last_body["model"] == "/weights/qwen"
    await backend.close()


async def test_a_request_is_passed_on_whole_and_always_streamed(world: World) -> None:
    await run(world.backend, chat(7, temperature=0.5, stream=False, max_completion_tokens=9))

    assert world.engine.last_body == {
        "messages": [{"role": "user", "content": "hi"}],
        "model": "scripted",
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 7,
    }


async def test_embeddings_come_back_in_the_order_of_their_inputs(world: World) -> None:
    call = Call(PROFILE, Operation.EMBEDDING, {"input": ["a", "bcd"], "encoding_format": "base64"})

    (finished,) = await run(world.backend, call)

    assert finished.embeddings == [[1.0, 1.0], [3.0, 1.0]]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("http500", FailureReason.REFUSED),
        ("busy", FailureReason.REFUSED),
        ("oom", FailureReason.OUT_OF_MEMORY),
        ("crash", FailureReason.CRASHED),
        ("error_event", FailureReason.CRASHED),
    ],
)
async def test_a_failed_answer_says_why(world: World, fault: str, reason: FailureReason) -> None:
    world.engine.faults.set(fault)

    with pytest.raises(BackendError) as failed:
        await run(world.backend, chat())

    assert failed.value.reason is reason


@pytest.mark.parametrize("fault", ["hang", "stall"])
async def test_an_answer_that_stops_coming_can_be_left(world: World, fault: str) -> None:
    world.engine.faults.set(fault)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await run(world.backend, chat())

    await until(lambda: world.engine.in_flight == 0)


async def test_a_slow_reader_gets_few_large_pieces(world: World) -> None:
    world.engine.tokens = 500
    pieces = world.backend.stream(chat())

    await anext(pieces)
    await until(lambda: world.engine.finished == 1)
    rest = [piece async for piece in pieces]

    assert len(rest) < 20


async def test_an_unknown_model_is_refused(world: World) -> None:
    with pytest.raises(BackendError) as refused:
        await run(world.backend, Call(Profile("else", 1, 1), Operation.CHAT, chat().input))

    assert refused.value.reason is FailureReason.REFUSED


async def test_nothing_is_unloaded_behind_the_back_of_an_engine_that_loads_by_itself(
    world: World,
) -> None:
    with pytest.raises(BackendError) as refused:
        await world.backend.unload("scripted")

    assert refused.value.reason is FailureReason.REFUSED


async def test_nobody_there_is_a_refusal() -> None:
    backend = OpenAI(f"http://127.0.0.1:{free_port()}", {})

    with pytest.raises(BackendError) as refused:
        await run(backend, chat())

    assert refused.value.reason is FailureReason.REFUSED
    await backend.close()


async def test_a_host_that_does_not_answer_is_given_up_after_the_connect_time() -> None:
    backend = OpenAI("http://192.0.2.1:8000", {}, connect_s=0.2)  # reserved: nobody answers
    began_s = monotonic()

    with pytest.raises(BackendError) as late:
        await run(backend, chat())

    assert late.value.reason in (FailureReason.TIMED_OUT, FailureReason.REFUSED)
    assert monotonic() - began_s < 1.5
    await backend.close()


async def test_calls_share_a_connection_where_the_engine_keeps_it() -> None:
    peers = set()

    @web.middleware
    async def remember(request: web.Request, handler: Any) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        answer = await handler(request)
        assert isinstance(answer, web.StreamResponse)
        return answer

    app = Engine().app()
    app.middlewares.append(remember)
    async with serving(app) as url:
        backend = OpenAI(url, {})
        for _ in range(5):
            await run(backend, chat())
        await backend.close()

    assert len(peers) == 1


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
async def test_an_address_may_end_in_v1(world: World, path: str) -> None:
    backend = OpenAI(world.url + path, {})

    assert [model.name for model in await backend.models()] == ["scripted"]
    await backend.close()


async def guarded(request: web.Request) -> web.Response:
    if request.headers.get("Authorization") != "Bearer secret":
        return web.json_response({"error": {"message": "unauthorized"}}, status=401)
    return web.json_response({"data": [{"id": "m"}]})


@pytest.mark.parametrize(("key", "is_let_in"), [("secret", True), ("wrong", False), (None, False)])
async def test_a_key_is_shown_to_the_engine(key: str | None, is_let_in: bool) -> None:
    app = web.Application()
    app.router.add_get("/v1/models", guarded)
    async with serving(app) as url:
        backend = OpenAI(url, {}, api_key=key)
        if is_let_in:
            assert [model.name for model in await backend.models()] == ["m"]
        else:
            with pytest.raises(BackendError, match="api_key_env"):
                await backend.models()
        await backend.close()


@pytest.mark.parametrize("answer", ["<html>", "[]", '{"data": null}', "{}"])
async def test_a_server_that_is_no_engine_is_refused(answer: str) -> None:
    async def other(_: web.Request) -> web.Response:
        return web.Response(text=answer)

    app = web.Application()
    app.router.add_get("/v1/models", other)
    async with serving(app) as url:
        backend = OpenAI(url, {})
        with pytest.raises(BackendError, match="an engine") as refused:
            await backend.models()
        await backend.close()

    assert refused.value.reason is FailureReason.REFUSED


async def test_a_slow_reader_holds_up_nobody_else(world: World) -> None:
    world.engine.tokens = 50_000
    slow = world.backend.stream(chat())
    await anext(slow)
    world.engine.tokens = 3

    quick = await run(world.backend, chat())

    assert isinstance(quick[0], Delta)
    await slow.aclose()
    await until(lambda: world.engine.in_flight == 0)


async def test_a_configured_model_that_the_server_does_not_have_is_said_to_be_missing(
    world: World,
) -> None:
    world.engine.models = ("served",)
    models = {
        "here": ModelConfig(engine="openai", source="served"),
        "gone": ModelConfig(engine="openai", source="/weights/gone"),
        "another's": ModelConfig(engine="ollama"),
    }
    backend = OpenAI(world.url, models)

    await backend.models()
    await backend.close()

    assert backend.left_out() == {"gone": f"{world.url} does not serve /weights/gone"}
