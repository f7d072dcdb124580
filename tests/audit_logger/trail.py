"""Looking at the trail from both sides: what is written, and what is still to be."""

from typing import Any

import redis.asyncio

from shared.bus.keys import Keys
from shared.events.inference import STORIES
from tests.databases import Postgres
from tests.waiting import until

Client = redis.asyncio.Redis


async def recorded(postgres: Postgres, requests: int, timeout_s: float = 15) -> list[Any]:
    """The rows of requests in their order, once there are so many."""

    def there() -> list[Any]:
        tables = postgres.rows("SELECT to_regclass('requests') AS named")
        if tables[0]["named"] is None:
            return []
        rows = postgres.rows("SELECT * FROM requests ORDER BY seq")
        return rows if len(rows) >= requests else []

    rows = await until(there, timeout_s)
    assert len(rows) == requests
    return rows


async def unacknowledged(client: Client) -> int:
    """Entries that the trail was given, or still will be, and has not settled."""
    left = 0
    for event in STORIES:
        for group in await client.xinfo_groups(Keys().stream(event)):
            left += group["pending"] + (group["lag"] or 0)
    return left


async def settled(client: Client) -> bool:
    return await unacknowledged(client) == 0
