"""B8: batches.

The hot path reads up to 256 entries at a time and settles them in one round trip: a thousand
events cost the store some dozens of reads from its sockets, and not thousands.
"""

from typing import Any

import redis.asyncio

from tests.fundamentals.parcels import arrive, office, post
from tests.fundamentals.tour import Open

Client = redis.asyncio.Redis


async def test_a_thousand_entries_are_read_and_settled_in_a_few_round_trips(
    configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    parcels = [str(number) for number in range(1024)]
    await post(configured, *parcels)
    before = await round_trips(configured)

    await opened(office(temper="leaves no marks", **settings))
    await arrive(configured, *parcels)

    assert await deliveries(configured) <= 6
    assert await round_trips(configured) - before < 200


async def deliveries(client: Client) -> int:
    """Reads of the group that found something, or waited for it."""
    stats: Any = await client.info("commandstats")
    return int(stats["cmdstat_xreadgroup"]["calls"])


async def round_trips(client: Client) -> int:
    """How often the store read from any socket: a pipeline is one, or few."""
    stats: Any = await client.info("stats")
    return int(stats["total_reads_processed"])
