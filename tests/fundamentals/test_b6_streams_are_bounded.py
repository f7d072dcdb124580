"""B6: streams are bounded.

What every core group has settled is cut. Followers, such as an automation that was switched off,
hold a stream back for as long as there is room; then they are cut, with an alert that names what
they lost.
"""

import redis.asyncio

from shared.bus.connection import ensure_group
from shared.bus.keys import Keys
from shared.bus.tail import redis_now_ms
from shared.bus.trimming import AUDIT, CORE_GROUPS, trim
from shared.events.inference import InferenceCompleted, InferenceRequested
from shared.events.operations import AlertRaised
from tests.fakes.asking import xadd

Client = redis.asyncio.Redis

KEYS = Keys()
INBOX = KEYS.stream(InferenceRequested)
COMPLETED = KEYS.stream(InferenceCompleted)


async def test_nothing_is_cut_that_a_core_group_has_not_settled(redis_client: Client) -> None:
    await ensure_group(redis_client, INBOX, "router")
    entries = [await xadd(redis_client) for _ in range(5)]
    await redis_client.xreadgroup("router", "router", {INBOX: ">"}, count=4)
    await redis_client.xack(INBOX, "router", *entries[:2], entries[3])

    await trim(redis_client, KEYS)

    assert await kept(redis_client) == entries[2:]


async def test_a_follower_that_lags_holds_the_stream_while_there_is_room(
    redis_client: Client,
) -> None:
    entries = await all_settled_but_by_a_follower(redis_client)

    await trim(redis_client, KEYS)

    assert await kept(redis_client) == entries
    assert await redis_client.xlen(KEYS.stream(AlertRaised)) == 0


async def test_a_follower_that_lags_in_a_crowded_store_is_cut_and_told_of(
    redis_client: Client,
) -> None:
    await all_settled_but_by_a_follower(redis_client, size=64 * 1024)
    await redis_client.config_set("maxmemory", 8 * 1024**2)

    await trim(redis_client, KEYS)

    assert await kept(redis_client) == []
    [(_, alert)] = await redis_client.xrange(KEYS.stream(AlertRaised))
    assert b"n8n was too far behind" in alert[b"data"]


async def test_what_tells_of_a_request_is_kept_for_an_hour_by_whomever_it_was_settled(
    redis_client: Client,
) -> None:
    """For whoever asks why, and for readers that come late."""
    now_ms = await redis_now_ms(redis_client)
    old, young = f"{now_ms - 3_700_000}-0", f"{now_ms - 3_500_000}-0"
    for entry in (old, young):
        await redis_client.xadd(COMPLETED, {"data": "{}"}, id=entry)
    await ensure_group(redis_client, COMPLETED, "audit-logger")
    await redis_client.xreadgroup("audit-logger", "a", {COMPLETED: ">"})
    await redis_client.xack(COMPLETED, "audit-logger", old, young)

    await trim(redis_client, KEYS)

    assert await kept(redis_client, COMPLETED) == [young]


async def test_the_trail_holds_nothing_back_once_it_is_switched_off(redis_client: Client) -> None:
    now_ms = await redis_now_ms(redis_client)
    await redis_client.xadd(COMPLETED, {"data": "{}"}, id=f"{now_ms - 90_000_000}-0")
    await ensure_group(redis_client, COMPLETED, "audit-logger")

    await trim(redis_client, KEYS)
    assert len(await kept(redis_client, COMPLETED)) == 1

    await trim(redis_client, KEYS, core=CORE_GROUPS - {AUDIT})
    assert await kept(redis_client, COMPLETED) == []


async def all_settled_but_by_a_follower(client: Client, size: int = 10) -> list[str]:
    for group in ("router", "n8n"):
        await ensure_group(client, INBOX, group)
    entries = [await xadd(client, "x" * size) for _ in range(50)]
    await client.xreadgroup("router", "router", {INBOX: ">"})
    await client.xack(INBOX, "router", *entries)
    return entries


async def kept(client: Client, stream: str = INBOX) -> list[str]:
    return [entry.decode() for entry, _ in await client.xrange(stream)]
