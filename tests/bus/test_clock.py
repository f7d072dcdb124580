"""The store's clock as others follow it."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
import redis.asyncio

from shared.bus.clock import StoreClock
from shared.bus.envelope import Entry
from shared.bus.holding import Holding
from shared.bus.keys import Keys
from shared.bus.writer import Writer
from tests.fakes.clock import Clock
from tests.servers import Store
from tests.waiting import until

STEP_MS = 300_000
IDLE_MS = 200


@pytest.fixture
async def client(jumping_store: Store) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(jumping_store.url, protocol=2)
    yield client
    await client.aclose()


async def test_a_step_back_is_told_apart_from_a_step_forward(writer: Writer, clock: Clock) -> None:
    followed = StoreClock(writer)
    before_ms = await followed.look()
    assert followed.set_back_ms == 0

    async def earlier() -> bool:
        return await followed.look() < before_ms

    async def later() -> bool:
        return await followed.look() >= before_ms

    clock.jump(-STEP_MS / 1000)
    await until(earlier)  # the store reads its clock once for several commands
    assert STEP_MS - 1000 < followed.set_back_ms <= STEP_MS

    clock.jump(STEP_MS / 1000)
    await until(later)
    assert followed.set_back_ms == 0
    assert await followed.look() == pytest.approx(followed.now_ms(), abs=100)


async def test_what_the_dead_held_when_the_clock_was_set_back_is_taken_over(
    client: redis.asyncio.Redis, writer: Writer, clock: Clock, keys: Keys
) -> None:
    """Its delivery is in the future for five minutes, in which it never seems idle."""
    await client.xgroup_create("s", "g", "0", mkstream=True)
    entry_id = await client.xadd("s", {"data": "{}"})
    await client.xreadgroup("g", "dead", {"s": ">"})
    heir = Holding(writer, keys, "s", "g", "heir")

    clock.jump(-STEP_MS / 1000)

    [taken_over] = await until(lambda: heir.take_over(client, IDLE_MS))
    assert taken_over.id == entry_id.decode()
    heir.hold([taken_over])
    assert not await heir.take_over(client, 0), "what it holds is taken from itself"


async def test_what_the_living_hold_when_the_clock_is_set_back_is_left_to_them(
    client: redis.asyncio.Redis, writer: Writer, clock: Clock, keys: Keys
) -> None:
    await client.xgroup_create("s", "g", "0", mkstream=True)
    entry_id = await client.xadd("s", {"data": "{}"})
    await client.xreadgroup("g", "living", {"s": ">"})
    living, heir = (Holding(writer, keys, "s", "g", name) for name in ("living", "heir"))
    living.hold([Entry("s", entry_id.decode(), {})])

    clock.jump(-STEP_MS / 1000)

    began_s = monotonic()
    while monotonic() < began_s + 5 * IDLE_MS / 1000:
        await living.beat(client)
        await asyncio.sleep(0.003)
        assert not await heir.take_over(client, IDLE_MS)
