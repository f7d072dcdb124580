"""B7: a full store drains.

Above 80 % of its memory nothing new is admitted, and a full one refuses what producers write. All
that moves accepted work towards its end goes on: that is how the store becomes empty again.
"""

import asyncio
import itertools
from time import monotonic
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import OutOfMemoryError

from shared.bus.bus import Bus
from shared.bus.keys import Keys
from shared.bus.requester import StoreFullError
from shared.events.base import Priority
from shared.events.inference import InferenceCompleted
from shared.events.models import ModelLoadRequested
from shared.settings import ServiceSettings
from tests.fakes.asking import INBOX, asking, final, xadd
from tests.fakes.processes import Processes
from tests.fundamentals.tour import Say
from tests.servers import Store
from tests.waiting import until

Client = redis.asyncio.Redis

WAITING = 10_000
MAXMEMORY = 48 * 1024**2
KEYS = Keys()
BALLAST = b"x" * 64 * 1024
REQUEST = '{"model":"echo","input":{"messages":[{"role":"user","content":"hello"}]}}'


@pytest.fixture
async def bounded(configured: Client) -> Client:
    await configured.config_set("maxmemory", MAXMEMORY)
    return configured


@pytest.mark.timeout(300)
async def test_a_full_store_refuses_what_is_new_and_completes_what_was_accepted(
    own_store: Store,
    bounded: Client,
    processes: Processes,
    settings: dict[str, Any],
    say: Say,
) -> None:
    processes.worker(own_store.url, "local", "echo", slots=64, loaded=False)
    leader = processes.router(own_store.url)
    await request(bounded, WAITING)
    await until(lambda: all_wait(bounded), timeout_s=90)

    await until(lambda: is_trimmed(bounded), timeout_s=60)

    async with asking(own_store.url) as asker:
        refused = await until(lambda: refusal(bounded, asker), timeout_s=20)
        assert refused.data["reason"] == "saturated"
        assert refused.data["retry_after_s"] > 0

        async with asyncio.TaskGroup() as others:
            hog = others.create_task(keep_full(bounded))
            await until(lambda: is_full(bounded), timeout_s=20)
            with pytest.raises(StoreFullError):
                await asker.ask()

            began = monotonic()
            await load_the_model(settings)
            await until(lambda: completed(bounded, 500), timeout_s=60)
            leader.kill()
            processes.router(own_store.url)
            await until(lambda: completed(bounded, WAITING), 180, every_s=0.2)
            hog.cancel()

    took_s = monotonic() - began
    say(f"{WAITING} requests left a full store in {took_s:.1f} s, past the death of a leader")
    await until(lambda: nothing_is_left(bounded), timeout_s=20)


async def test_a_request_can_be_cancelled_while_the_store_is_full(
    own_store: Store, bounded: Client, processes: Processes
) -> None:
    processes.router(own_store.url)
    processes.worker(own_store.url, "local", "slow", slots=1)

    async with asking(own_store.url) as asker:
        running = await asker.ask(
            "a long story that takes three seconds to tell " * 3, model="slow"
        )
        waiting = await asker.ask("later", model="slow")
        await until(lambda: bounded.zcard(KEYS.waiting(Priority.NORMAL)), timeout_s=15)
        async with asyncio.TaskGroup() as others:
            hog = others.create_task(keep_full(bounded))
            await until(lambda: is_full(bounded), timeout_s=20)

            for stream in (running, waiting):
                await asker.requester.cancel(stream.request_id, "changed my mind")

            assert (await final(waiting)).outcome == "cancelled"
            assert (await final(running)).outcome == "cancelled"
            hog.cancel()


async def request(client: Client, count: int) -> None:
    for _ in range(count // 1000):
        pipeline = client.pipeline(transaction=False)
        for _ in range(1000):
            pipeline.xadd(INBOX, {"data": REQUEST})
        await pipeline.execute()


async def load_the_model(settings: dict[str, Any]) -> None:
    """What model-manager does once it hears of the demand."""
    place = ServiceSettings(**settings)
    bus = Bus("model-manager", place, publishes=(ModelLoadRequested,))
    load = ModelLoadRequested(model="echo", context_tokens=4096, slots=64, reason="demand")
    await bus.publish(load, node="local")
    await bus.stop()


async def fill(client: Client, share: float) -> None:
    """Let others use up this share of the store's memory."""
    number = 0
    while (await client.info("memory"))["used_memory"] < share * MAXMEMORY:
        number += 1
        await client.set(f"ballast:{number}", BALLAST)


async def keep_full(client: Client) -> None:
    """Let others use up whatever becomes free, as soon as it does."""
    for number in itertools.count():
        try:
            await client.set(f"more ballast:{number}", BALLAST)
        except OutOfMemoryError:
            await asyncio.sleep(0.05)


async def is_full(client: Client) -> bool:
    try:
        await xadd(client, REQUEST)
    except OutOfMemoryError:
        return True
    return False


async def refusal(client: Client, asker: Any) -> Any:
    await fill(client, 0.85)  # buffers and trimmed streams may have given some back
    answer = await asker.ask()
    found = await asker.requester.look_up(answer.request_id)
    if found is None or found.record.get("outcome") != "rejected":
        await asker.requester.cancel(answer.request_id, "it was let in")
        return None
    return await final(answer)


async def all_wait(client: Client) -> bool:
    return await client.zcard(KEYS.waiting(Priority.NORMAL)) == WAITING


async def completed(client: Client, count: int) -> bool:
    return await client.xlen(KEYS.stream(InferenceCompleted)) >= count


async def is_trimmed(client: Client) -> bool:
    """Whether what the inbox took is gone from it, and its memory free."""
    return await client.xlen(INBOX) == 0


async def nothing_is_left(client: Client) -> bool:
    return not await client.zcard(KEYS.waiting(Priority.NORMAL)) + await client.zcard(KEYS.flight)
