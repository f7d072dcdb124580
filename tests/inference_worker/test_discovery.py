"""Engines are found where they usually are, and nothing else is taken for one."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from time import monotonic
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from services.inference_worker.discovery import USUAL_PORTS, find_engines
from tests.fakes import ollama, openai_engine
from tests.fakes.serving import for_ever, serving
from tests.servers import free_port


def port(url: str) -> int:
    found = urlsplit(url).port
    assert found is not None
    return found


def answering(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app


MODELS = {"object": "list", "data": [{"id": "m"}]}


async def our_gateway(_: web.Request) -> web.Response:
    return web.json_response(MODELS, headers={"Server": "roundhouse"})


async def a_website(_: web.Request) -> web.Response:
    return web.Response(text="<html>hello</html>")


async def an_api(_: web.Request) -> web.Response:
    return web.json_response({"data": "none of your business"})


async def a_guarded_engine(_: web.Request) -> web.Response:
    return web.json_response({"error": "unauthorized"}, status=401)


async def a_silent_server(_: web.Request) -> web.Response:
    await for_ever()
    raise AssertionError


async def test_each_engine_is_found_and_known_for_what_it_is() -> None:
    async with AsyncExitStack() as stack:
        urls = [
            await stack.enter_async_context(serving(app))
            for app in (ollama.Ollama().app(), openai_engine.Engine().app())
        ]

        found = await find_engines(tuple(port(url) for url in urls))

    assert [(engine.kind, engine.url) for engine in found] == [
        ("ollama", urls[0]),
        ("openai", urls[1]),
    ]


async def test_an_ollama_without_any_model_is_found_too() -> None:
    engine = ollama.Ollama()
    engine.scheduler.weights = ()
    async with serving(engine.app()) as url:
        assert [each.kind for each in await find_engines((port(url),))] == ["ollama"]


@pytest.mark.parametrize(
    "other", [our_gateway, a_website, an_api, a_guarded_engine], ids=lambda each: each.__name__
)
async def test_nothing_else_is_taken_for_an_engine(
    other: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> None:
    async with serving(answering(other)) as url:
        assert await find_engines((port(url),)) == []


async def test_silence_and_closed_ports_take_a_second_at_most() -> None:
    began_s = monotonic()
    async with serving(answering(a_silent_server)) as url:
        assert await find_engines((port(url), free_port(), free_port())) == []

    assert monotonic() - began_s < 2


def test_the_usual_ports_are_those_of_the_engines_that_we_know() -> None:
    assert set(USUAL_PORTS) >= {11434, 8080, 8000, 1234}
