"""The gateway as a process before a real store; the test plays the router and the worker."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import redis.asyncio

from shared.bus.configuration import apply_configuration
from tests.gateway.conftest import end
from tests.servers import Store, free_port
from tests.waiting import until

CHAT = "/v1/chat/completions"
QUESTION = {"messages": [{"role": "user", "content": "Hello"}]}


@dataclass
class Running:
    process: asyncio.subprocess.Process
    http: httpx.AsyncClient
    store: redis.asyncio.Redis

    async def answer_all(self, *pieces: str) -> None:
        """Answer the requests of the inbox like a worker would, until cancelled."""
        last = "0-0"
        while True:
            for _, entries in await self.store.xread(
                {"rh:inference.requested.v1": last}, block=500
            ):
                for last, fields in entries:  # noqa: B007 - where to read on
                    await self._answer(fields, pieces)

    async def _answer(self, fields: dict[bytes, bytes], pieces: tuple[str, ...]) -> None:
        request_id, key = fields[b"id"].decode(), f"rh:reply:{fields[b'replyto'].decode()}"
        about: dict[Any, Any] = {"request": request_id, "attempt": 1}
        for seq, piece in enumerate(pieces):
            delta = {"seq": seq, "delta": json.dumps({"content": piece}), "node": "n", "model": "m"}
            await self.store.xadd(key, about | delta)
        message = {"role": "assistant", "content": "".join(pieces)}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        data = {
            "request_id": request_id,
            "attempt": 1,
            "model": "m",
            "node": "n",
            "output": {"object": "chat.completion", "choices": [choice], "usage": usage},
        }
        await self.store.xadd(key, about | {"final": "completed", "data": json.dumps(data)})


@pytest.fixture
async def running(own_store: Store) -> AsyncIterator[Running]:
    port = free_port()
    environment = {**os.environ, "REDIS_URL": own_store.url, "ROUNDHOUSE_PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.gateway"), env=environment, stderr=asyncio.subprocess.PIPE
    )
    await apply_configuration(own_store.url, None)
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
        redis.asyncio.Redis.from_url(own_store.url, protocol=2) as store,
    ):
        await until(lambda: is_ready(http), timeout_s=20)
        yield Running(process, http, store)
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def test_a_question_goes_over_the_bus_and_its_answer_comes_back(running: Running) -> None:
    worker = asyncio.create_task(running.answer_all("Hello", " world"))

    plain = await running.http.post(CHAT, json=QUESTION)
    streamed = await running.http.post(CHAT, json={**QUESTION, "stream": True})
    await end(worker)

    assert plain.json()["choices"][0]["message"]["content"] == "Hello world"
    assert streamed.text.count('"content":"Hello"') == 1
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert streamed.headers["x-roundhouse-node"] == "n"


async def test_a_store_that_lost_everything_is_told_to_whoever_waits(running: Running) -> None:
    asking = asyncio.create_task(running.http.post(CHAT, json=QUESTION, timeout=30))
    await until(lambda: running.store.xlen("rh:inference.requested.v1"))
    await running.store.flushall()

    answer = await asking

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "store_lost"


async def test_it_stops_within_five_seconds_and_says_so_to_clients_that_wait(
    running: Running,
) -> None:
    asking = asyncio.create_task(running.http.post(CHAT, json={**QUESTION, "stream": True}))
    await until(lambda: running.store.xlen("rh:inference.requested.v1"))

    running.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(5):
        code = await running.process.wait()

    assert code == 0
    assert (await asking).status_code == 503
    assert (await asking).json()["error"]["code"] == "stopping"
