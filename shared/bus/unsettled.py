"""How much of the store's memory is held by what a group has not settled."""

from collections.abc import Iterable
from typing import Any

from redis.asyncio import Redis

from shared.bus.trimming import UNBOUNDED_BYTES

TOO_MUCH = 0.25
"""A group that no entry may be lost to can hold no more than this share for long."""


async def unsettled_share(client: Redis, group: str, streams: Iterable[str]) -> float:
    """Of these streams, as a share of the store's memory; a stream without the group counts not.

    What others keep of the streams beyond that is left out in proportion to its entries.
    """
    info = await client.info("memory")
    bound = int(info["maxmemory"]) or UNBOUNDED_BYTES
    return sum([await _held_bytes(client, group, stream) for stream in streams]) / bound


async def _held_bytes(client: Any, group: str, stream: str) -> float:
    length = await client.xlen(stream)
    if not length:
        return 0.0
    for found in await client.xinfo_groups(stream):
        if found["name"].decode() == group:
            unread = (
                length if found["lag"] is None else found["lag"]
            )  # unknown after some deletions
            share = min(1.0, (found["pending"] + unread) / length)
            return float(share * (await client.memory_usage(stream, samples=5) or 0))
    return 0.0
