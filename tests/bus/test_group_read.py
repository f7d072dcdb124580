"""Raw reading of a group: batch by batch, past whatever fails, until it is stopped."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from shared.bus.connection import GroupReader, ensure_group, make_client
from shared.bus.envelope import Entry
from shared.bus.group_read import STOP_S, GroupRead
from tests.servers import Store
from tests.waiting import until

STREAM, GROUP = "rh:requests", "router"


@pytest.fixture
async def reader(session_store: Store) -> AsyncIterator[GroupReader]:
    reader = make_client(session_store.url, GroupReader)
    yield reader
    await reader.aclose()


async def add(client: Redis, *texts: str) -> None:
    for text in texts:
        await client.xadd(STREAM, {"data": text})


async def test_what_fails_is_left_pending_and_the_next_batch_comes(
    client: Redis, reader: GroupReader
) -> None:
    await ensure_group(client, STREAM, GROUP)
    seen: list[bytes] = []

    async def handle(entries: list[Entry]) -> None:
        seen.extend(entry.data for entry in entries)
        if entries[0].data == b"bad":
            raise ZeroDivisionError

    reading = GroupRead(reader, STREAM, GROUP, "router", handle)
    reading.start()
    for number, text in enumerate(("bad", "good"), 1):
        await add(client, text)
        await until(lambda number=number: len(seen) == number)
    assert (await client.xpending(STREAM, GROUP))["pending"] == 2
    await reading.stop()

    await add(client, "late")
    await asyncio.sleep(0.05)
    assert seen == [b"bad", b"good"]


async def test_a_stop_lets_the_handler_finish(client: Redis, reader: GroupReader) -> None:
    await ensure_group(client, STREAM, GROUP)
    begun, done = asyncio.Event(), asyncio.Event()

    async def handle(_entries: list[Entry]) -> None:
        begun.set()
        await asyncio.sleep(STOP_S / 4)
        done.set()

    reading = GroupRead(reader, STREAM, GROUP, "router", handle)
    reading.start()
    await add(client, "one")
    await begun.wait()
    await reading.stop()

    assert done.is_set()


async def test_a_stop_does_not_wait_for_a_handler_that_hangs(
    client: Redis, reader: GroupReader
) -> None:
    await ensure_group(client, STREAM, GROUP)
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def handle(_entries: list[Entry]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    reading = GroupRead(reader, STREAM, GROUP, "router", handle)
    reading.start()
    await add(client, "one")
    await begun.wait()
    async with asyncio.timeout(STOP_S + 3):
        await reading.stop()

    assert cancelled.is_set()


async def test_stopping_what_never_started_or_twice_is_harmless(reader: GroupReader) -> None:
    async def handle(_entries: list[Entry]) -> None:
        raise AssertionError

    reading = GroupRead(reader, STREAM, GROUP, "router", handle)
    await reading.stop()
    reading.start()
    await reading.stop()
    await reading.stop()
