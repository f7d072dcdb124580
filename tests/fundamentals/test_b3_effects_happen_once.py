"""B3: effects happen once.

What a handler returns is published, and its entry acknowledged, in one step and only by the
consumer that still owns the entry. A zombie, frozen and thawed after another took its work over,
finds itself fenced.
"""

from typing import Any

import redis.asyncio

from tests.conftest import each_store
from tests.fakes.processes import Processes
from tests.fundamentals.parcels import (
    DELIVERED,
    POSTED,
    RETURNED,
    arrive,
    handled,
    office,
    post,
    unsettled,
)
from tests.fundamentals.tour import Open
from tests.servers import Store
from tests.waiting import until

pytestmark = each_store

Client = redis.asyncio.Redis


async def test_a_zombie_is_fenced(
    own_store: Store,
    configured: Client,
    processes: Processes,
    opened: Open,
    settings: dict[str, Any],
) -> None:
    zombie = processes.start(office, own_store.url, temper="takes its time", instance="zombie")
    await post(configured, "brain")
    await until(lambda: handled(configured), timeout_s=15)
    zombie.freeze()
    await opened(office(**settings, instance="rescuer"))
    await arrive(configured, "brain")

    zombie.thaw()

    await until(lambda: returned(configured, "brain zombie"))
    await post(configured, "tea")
    await arrive(configured, "brain", "tea")


async def test_a_handler_that_ran_twice_says_the_same_thing_twice(
    configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    """Receivers tell by the id, which names the fact and not the occasion on which it was said."""
    await opened(office(**settings))
    await post(configured, "parcel")
    await arrive(configured, "parcel")

    await configured.xgroup_destroy(POSTED, "post")

    await arrive(configured, "parcel", "parcel")
    rows: Any = await configured.xrange(DELIVERED)
    assert rows[0][1][b"id"] == rows[1][1][b"id"]


async def test_what_was_caused_names_its_cause(
    configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    await opened(office(**settings))
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    await configured.xadd(POSTED, {"id": "p1", "traceparent": trace, "data": '{"parcel":"a"}'})

    await arrive(configured, "a")
    rows: Any = await configured.xrange(DELIVERED)
    assert rows[0][1][b"causationid"] == b"p1"
    assert rows[0][1][b"correlationid"] == b"p1"
    assert rows[0][1][b"traceparent"] == trace.encode()
    assert await unsettled(configured) == 0


async def returned(client: Client, mark: str) -> bool:
    return mark in await handled(client, RETURNED)
