"""B9: readiness tells the truth.

`/ready` is 503 within 10 s of any fault that stops a service working, and 200 again within 10 s of
its end. A standby is ready to take over: 200, and says that it is a standby.
"""

import asyncio
from time import monotonic
from typing import Any

import pytest
import redis.asyncio

from shared.bus.configuration import store_configuration
from shared.bus.keys import Keys
from tests.fakes.processes import Child, Processes
from tests.fundamentals.tour import FAST, Say
from tests.servers import Store
from tests.waiting import until

Client = redis.asyncio.Redis


@pytest.mark.parametrize("fault", ["frozen", "killed"])
async def test_a_store_that_is_away_shows_within_ten_seconds_and_so_does_its_return(
    own_store: Store, configured: Client, processes: Processes, say: Say, fault: str
) -> None:
    services = [
        processes.router(own_store.url),
        processes.router(own_store.url),
        processes.worker(own_store.url, "local", "echo"),
    ]
    await all_say(services, 200, within_s=20)
    assert sorted([(await each.ready() or {})["role"] for each in services[:2]]) == [
        "active",
        "standby",
    ]

    own_store.freeze() if fault == "frozen" else own_store.kill()
    away_s = await all_say(services, 503, within_s=10)
    own_store.thaw() if fault == "frozen" else own_store.start()
    back_s = await all_say(services, 200, within_s=10)

    say(f"503 after {away_s:.1f} s, 200 again after {back_s:.1f} s")


async def test_a_standby_is_ready_and_says_what_it_is(
    own_store: Store, configured: Client, processes: Processes, say: Say
) -> None:
    leader = processes.router(own_store.url)
    await role(leader, "active")
    standby = processes.router(own_store.url)
    await role(standby, "standby")

    leader.kill()

    died = monotonic()
    await role(standby, "active")
    say(f"the standby led {monotonic() - died:.1f} s after the leader's death")


async def test_a_service_that_nobody_configured_is_alive_but_not_ready(
    own_store: Store, redis_client: Client, processes: Processes
) -> None:
    child = processes.router(own_store.url)
    answer: Any = await until(child.ready, timeout_s=20)
    assert answer["status"] == 503
    assert answer["checks"]["configuration"] != "ok"

    await store_configuration(redis_client, Keys(), FAST, "tour")

    await all_say([child], 200, within_s=10)


async def test_a_key_of_a_foreign_type_in_the_way_shows(
    own_store: Store, configured: Client, processes: Processes
) -> None:
    child = processes.router(own_store.url)
    await role(child, "active")

    await configured.set(Keys().flight, "somebody else's")
    await all_say([child], 503, within_s=10)

    await configured.delete(Keys().flight)
    await all_say([child], 200, within_s=10)


async def all_say(services: list[Child], status: int, within_s: float) -> float:
    """Wait until all of them answer so; how long it took, in seconds."""
    began = monotonic()

    async def agreed() -> bool:
        answers = await asyncio.gather(*[each.ready() for each in services])
        return all(answer and answer["status"] == status for answer in answers)

    await until(agreed, within_s)
    return monotonic() - began


async def role(child: Child, wanted: str) -> None:
    async def played() -> bool:
        answer = await child.ready()
        return answer is not None and answer["status"] == 200 and answer["role"] == wanted

    await until(played, timeout_s=20)
