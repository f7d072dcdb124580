"""FLUSHALL, or an empty store in place of the old one: what no promise can keep.

Services go on without a restart, and whoever waits for an answer is told that its request is
gone, instead of being left to wait.
"""

import asyncio
from time import monotonic
from typing import Any

import pytest
import redis.asyncio

from tests.conftest import each_store
from tests.fakes.asking import asking, final, said
from tests.fakes.processes import Processes
from tests.fundamentals.tour import Say
from tests.servers import Store
from tests.waiting import until

Client = redis.asyncio.Redis
pytestmark = each_store

STORY = "a story that takes its time " * 10


@pytest.mark.parametrize("loss", ["flushed", "replaced"])
async def test_who_waits_is_told_and_new_requests_are_answered(
    own_store: Store, configured: Client, processes: Processes, say: Say, loss: str
) -> None:
    for _ in range(2):
        processes.router(own_store.url)
    processes.worker(own_store.url, "local", "slow", "echo", slots=2)

    async with asking(own_store.url) as asker:
        await until(lambda: answers(asker), timeout_s=30)
        doomed = [await asker.ask(STORY, model="slow") for _ in range(4)]
        streaming = await asker.ask(STORY, model="slow", chunks=True)
        await until(lambda: configured.zcard("rh:flight"))

        await lose(own_store, configured, loss)
        lost_at = monotonic()

        ends = await asyncio.gather(*[final(stream) for stream in [*doomed, streaming]])
        told_s = monotonic() - lost_at
        assert {end.data["reason"] for end in ends} == {"store_lost"}

        await until(lambda: answers(asker), timeout_s=30)
        say(
            f"all five who waited were told within {told_s:.1f} s; "
            f"a new request was answered {monotonic() - lost_at:.1f} s after the loss"
        )
        assert monotonic() - lost_at < 30


async def lose(store: Store, client: Client, loss: str) -> None:
    if loss == "flushed":
        await client.flushall()
        return
    store.kill()
    for file in store.folder.rglob("*aof*"):
        if file.is_file():
            file.unlink()
    store.start()


async def answers(asker: Any) -> bool:
    end = await final(await asker.ask("hello"))
    return end.outcome == "completed" and said(end) == "hello"
