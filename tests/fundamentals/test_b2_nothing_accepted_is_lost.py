"""B2: nothing accepted is lost.

Whatever was delivered to a consumer is settled in the end: by it, or by another that takes over
what a dead one held. Who lives, and works, keeps what it holds for as long as it takes.
"""

from time import monotonic
from typing import Any

import pytest
import redis.asyncio

from tests.conftest import each_store
from tests.fakes.processes import Processes
from tests.fakes.proxy import lossy_proxy
from tests.fundamentals.parcels import (
    POSTED,
    arrive,
    delivered,
    handled,
    office,
    post,
    unsettled,
)
from tests.fundamentals.tour import FAST, Open, Say
from tests.servers import Store
from tests.waiting import until

pytestmark = each_store

Client = redis.asyncio.Redis


@pytest.mark.parametrize("temper", ["dies while handling", "dies before settling"])
async def test_what_a_killed_consumer_held_is_taken_over(
    own_store: Store,
    configured: Client,
    processes: Processes,
    opened: Open,
    settings: dict[str, Any],
    say: Say,
    temper: str,
) -> None:
    await post(configured, "a", "b")
    doomed = processes.start(office, own_store.url, temper=temper)
    await until(lambda: doomed.process.exitcode is not None, timeout_s=15)
    died = monotonic()

    await opened(office(**settings))

    await arrive(configured, "a", "b")
    took_over_s = monotonic() - died
    say(f"taken over {took_over_s:.2f} s after the death")
    assert took_over_s < FAST.timing.claim_idle_s + 2
    await until(lambda: nothing_pends(configured))


async def test_a_consumer_killed_after_settling_leaves_nothing_to_do_again(
    own_store: Store,
    configured: Client,
    processes: Processes,
    opened: Open,
    settings: dict[str, Any],
) -> None:
    doomed = processes.start(office, own_store.url)
    await post(configured, "a")
    await arrive(configured, "a", timeout_s=15)
    doomed.kill()

    await opened(office(**settings))
    await post(configured, "b")

    await arrive(configured, "a", "b")
    assert await unsettled(configured) == 0


async def test_a_store_killed_and_started_again_still_has_all_of_it(
    own_store: Store, configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    await opened(office(temper="leaves no marks", **settings))
    await post(configured, *[str(number) for number in range(300)])

    own_store.kill()
    own_store.start()

    await until(lambda: everything_is_delivered(configured, 300), timeout_s=15)
    await until(lambda: nothing_pends(configured))


async def test_deliveries_that_a_bad_network_swallows_are_noticed(
    own_store: Store, configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    async with lossy_proxy(own_store.port) as network:
        await opened(office(temper="leaves no marks", **settings | {"redis_url": network.url}))
        for number in range(60):
            await post(configured, str(number))

        await until(lambda: everything_is_delivered(configured, 60), timeout_s=60)
        network.loss = 0
        await until(lambda: nothing_pends(configured), timeout_s=30)
    assert network.cut


async def test_a_long_handler_keeps_what_it_holds(
    own_store: Store,
    configured: Client,
    processes: Processes,
    opened: Open,
    settings: dict[str, Any],
) -> None:
    """Both parcels are delivered to the slow office at once: the second waits for the first."""
    await post(configured, "long", "longer")
    processes.start(office, own_store.url, temper="takes its time", instance="slow")
    await until(lambda: handled(configured), timeout_s=15)

    await opened(office(**settings))

    await arrive(configured, "long", "longer", timeout_s=10)
    assert await handled(configured) == ["long slow", "longer slow"]


async def test_a_long_handler_keeps_also_what_it_took_over(
    own_store: Store, configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    await post(configured, "orphan")
    await deliver_to_the_dead(configured)
    await opened(office(temper="takes its time", **settings, instance="slow"))
    await until(lambda: handled(configured))

    await opened(office(**settings, instance="quick"))

    await arrive(configured, "orphan", timeout_s=10)
    assert await handled(configured) == ["orphan slow"]


async def test_what_fails_once_is_tried_again_after_a_pause(
    configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    await opened(office(temper="stumbles once", **settings, instance="clumsy"))

    await post(configured, "slippery", "dry")

    await until(lambda: everything_is_delivered(configured, 2))
    marks = await handled(configured)
    assert marks == ["slippery clumsy", "dry clumsy", "slippery clumsy"]


async def deliver_to_the_dead(client: Client) -> None:
    """As a consumer leaves it behind that died with everything it had."""
    await client.xgroup_create(POSTED, "post", "0", mkstream=True)
    await client.xreadgroup("post", "dead", {POSTED: ">"})


async def nothing_pends(client: Client) -> bool:
    return await unsettled(client) == 0


async def everything_is_delivered(client: Client, count: int) -> bool:
    names = await delivered(client)
    assert len(names) == len(set(names)), "delivered twice"
    return len(names) == count
