"""A scripted engine with OpenAI's protocol whose every execution leaves a trace.

The model's name says how it behaves, see `MODELS`. Each word of an answer names its execution
and its place in it, so that words of two executions cannot pass for one answer.
"""

import asyncio
import os
import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from tests.fakes.serving import cut, for_ever, serving

MODELS = ("echo", "slow", "crash", "hang", "stall", "fail", "drop", "doubtful", "steady")
NUMBER = re.compile(r"request (\d+) ")
WORD = re.compile(r"(?P<execution>[\w.]+):(?P<place>\d+)/(?P<words>\d+)")
STEADY_S = 0.5
"""For how long `steady` works on any request."""
HALFWAY = 2
"""Words before an engine breaks off or stalls."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What an engine did once: `number` is the request's, `name` its own."""

    number: int
    name: str
    node: str
    model: str
    at_s: float
    """When it began; all processes of a machine have one monotonic clock."""


def executions(node: str, trace: str) -> list[Execution]:
    """What the engine of a node has traced."""
    lines = [line.split() for line in trace.splitlines()]
    return [
        Execution(int(number), name, node, model, float(at_s))
        for number, name, model, at_s in lines
    ]


def prompt(number: int, padding: int = 0) -> str:
    return f"this is request {number} of many {'.' * padding}"


def whole_answer(text: str) -> bool:
    """Whether it is all of one execution's words, each once and in order."""
    return _words(text) == _expected(text) != []


def beginning_of_an_answer(text: str) -> bool:
    words = _words(text)
    return words == _expected(text)[: len(words)]


def execution(text: str) -> str:
    """Which execution an answer is of; "" where it is of none."""
    found = WORD.match(text)
    return found["execution"] if found else ""


def voices(text: str) -> set[str]:
    """All executions whose words are in it."""
    return {found["execution"] for found in WORD.finditer(text)}


def _words(text: str) -> list[str]:
    return text.split(" ") if text else []


def _expected(text: str) -> list[str]:
    found = WORD.match(text)
    if found is None:
        return []
    words = int(found["words"])
    return [f"{found['execution']}:{place}/{words}" for place in range(1, words + 1)]


class Engine:
    def __init__(self, trace: Path) -> None:
        self._trace = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._executions = count(1)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.add_routes(
            [
                web.get("/v1/models", self._models),
                web.post("/v1/chat/completions", self._generate),
            ]
        )
        return app

    async def _models(self, _: web.Request) -> web.Response:
        data = [{"id": model, "object": "model", "max_model_len": 1 << 20} for model in MODELS]
        return web.json_response({"object": "list", "data": data})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model, text = body["model"], str(body["messages"][-1]["content"])
        found = NUMBER.search(text)
        number = int(found[1]) if found else -1
        name = f"{os.getpid()}.{next(self._executions)}"
        os.write(self._trace, f"{number} {name} {model} {monotonic()}\n".encode())
        if model == "hang":
            await for_ever()
        if model == "fail" or (model == "doubtful" and number % 2):
            return web.json_response({"error": {"message": "an internal error"}}, status=500)
        if model == "drop":
            cut(request)
            raise ConnectionResetError("scripted")
        return await self._stream(request, model, name, number)

    async def _stream(
        self, request: web.Request, model: str, name: str, number: int
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        words = 3 + number % 5
        for place in range(1, words + 1):
            if place > HALFWAY and model == "stall":
                await for_ever()
            if place > HALFWAY and model == "crash":
                cut(request)
                raise ConnectionResetError("scripted")
            if model == "slow":
                await asyncio.sleep(0.05 + number % 7 * 0.02)
            if model == "steady":
                await asyncio.sleep(STEADY_S / words)
            piece = f"{' ' if place > 1 else ''}{name}:{place}/{words}"
            await response.write(_event(model, {"delta": {"content": piece}}))
        await response.write(_event(model, {"delta": {}, "finish_reason": "stop"}))
        usage = {"prompt_tokens": 7, "completion_tokens": words, "total_tokens": 7 + words}
        await response.write(_event(model, None, usage=usage) + b"data: [DONE]\n\n")
        return response


def _event(model: str, choice: dict[str, Any] | None, **rest: Any) -> bytes:
    choices = [] if choice is None else [{"index": 0, "finish_reason": None, **choice}]
    return b"data: " + to_json({"model": model, "choices": choices, **rest}) + b"\n\n"


def serve(*, port: int, trace: Path) -> None:
    asyncio.run(_serve(Engine(trace), port))


async def _serve(engine: Engine, port: int) -> None:
    async with serving(engine.app(), port):
        await for_ever()
