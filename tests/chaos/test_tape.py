"""The tape knows what it could not hear."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio

from tests.chaos.cell import KEYS
from tests.chaos.tape import INBOX, Gap, Tape
from tests.servers import Store
from tests.waiting import until

READER = KEYS.reply("reader")


async def reply(client: redis.asyncio.Redis, *places: int) -> None:
    await client.xadd(INBOX, {"id": "r1", "replyto": "reader", "data": "{}"})
    for place in places:
        await client.xadd(READER, {"request": "r1", "attempt": "1", "seq": place, "delta": "{}"})


@asynccontextmanager
async def listening(store: Store) -> AsyncIterator[Tape]:
    tape = Tape(store.url)
    task = asyncio.create_task(tape.run())
    yield tape
    tape.stopped = True
    task.cancel()


async def test_replies_that_were_trimmed_before_they_were_read_leave_a_gap(
    session_store: Store, client: redis.asyncio.Redis
) -> None:
    await reply(client, 0, 1, 2)
    await client.xtrim(READER, maxlen=1, approximate=False)

    async with listening(session_store) as tape:
        await until(lambda: tape.heard[READER] and tape.gaps)

    assert [heard.attributes["seq"] for heard in tape.heard[READER]] == ["2"]
    assert tape.missed[READER] == 2
    [gap] = tape.gaps
    assert gap == Gap(READER, 0, gap.until)


async def test_replies_that_expired_leave_a_gap_though_new_ones_follow(
    session_store: Store, client: redis.asyncio.Redis
) -> None:
    async with listening(session_store) as tape:
        await reply(client, 0, 1, 2)
        await until(lambda: len(tape.heard[READER]) == 3)
        await tape.reckoned()
        assert not tape.gaps

        await client.delete(READER)
        await reply(client, 3)
        await until(lambda: tape.gaps)

    assert [gap.stream for gap in tape.gaps] == [READER]
