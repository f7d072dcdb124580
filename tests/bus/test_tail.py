"""Followers without a group miss nothing that comes after them, whatever the clock does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from shared.bus.envelope import Entry
from shared.bus.line import ANSWER_TIMEOUT_S
from shared.bus.tail import tail
from tests.fakes.clock import Clock
from tests.servers import Store
from tests.waiting import until

TWO_HOURS_S = 7200.0
STREAM = "told"


@pytest.fixture
async def client(jumping_store: Store) -> AsyncIterator[Redis]:
    client = Redis.from_url(jumping_store.url, protocol=2)
    yield client
    await client.aclose()


async def test_what_comes_after_the_clock_was_set_back_is_heard(
    client: Redis, clock: Clock
) -> None:
    await say(client, "old")
    async with heard(client) as words:
        await set_back(client, clock)
        await say(client, "new")
        await until(lambda: words == ["new"])


async def test_a_look_back_ends_at_the_last_entries_where_the_clock_was_set_back_before(
    client: Redis, clock: Clock
) -> None:
    await say(client, "long ago", TWO_HOURS_S + 3600)
    await say(client, "lately", 5)
    await set_back(client, clock)
    async with heard(client, lookback_s=60) as words:
        await say(client, "new")
        await until(lambda: words == ["lately", "new"])


async def test_a_look_back_is_no_longer_than_asked_for_where_nothing_was_said_since(
    client: Redis,
) -> None:
    await say(client, "long ago", 3600)
    async with heard(client, lookback_s=60) as words:
        await say(client, "new")
        await until(lambda: words == ["new"])


async def test_a_stream_that_was_emptied_is_heard_at_ids_before_the_last_one(
    client: Redis, clock: Clock
) -> None:
    async with heard(client) as words:
        await say(client, "old")
        await until(lambda: words == ["old"])
        await client.delete(STREAM)
        await set_back(client, clock)
        await say(client, "new")
        # A read that blocks while the clock is set back does so for as long again.
        await until(lambda: words == ["old", "new"], timeout_s=2 * ANSWER_TIMEOUT_S)


async def say(client: Redis, word: str, ago_s: float = 0) -> None:
    seconds, _ = await client.time()
    entry_id = f"{(seconds - int(ago_s)) * 1000}-*" if ago_s else "*"
    await client.xadd(STREAM, {"word": word}, id=entry_id)


@asynccontextmanager
async def heard(client: Redis, lookback_s: float = 0) -> AsyncIterator[list[str]]:
    words: list[str] = []

    async def on_entries(entries: Sequence[Entry]) -> None:
        words.extend(entry.text("word") for entry in entries)

    task = asyncio.create_task(tail(client, {STREAM: on_entries}, lookback_s))

    async def reading() -> bool:
        return any(each["cmd"] == "xread" for each in await client.client_list())

    await until(reading)
    yield words
    task.cancel()


async def set_back(client: Redis, clock: Clock) -> None:
    before, _ = await client.time()

    async def seen() -> bool:
        seconds, _ = await client.time()
        return int(seconds) < int(before)

    clock.jump(-TWO_HOURS_S)
    await until(seen)  # the store reads its clock once for several commands
