"""A lease has one holder, and whoever was the holder is fenced."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from shared.bus.connection import make_client
from shared.bus.keys import Keys
from shared.bus.lease import Lease
from shared.bus.requests import FencedError, RequestRecords
from shared.bus.scripts import script
from shared.bus.writer import Writer
from shared.config import Timing
from tests.servers import Store
from tests.waiting import until

BRISK = Timing(router_lease_s=0.25, router_renew_s=0.04)
FROZEN = Timing(router_lease_s=0.25, router_renew_s=600.0)
"""Takes the lease and never renews it."""
LONG = Timing(router_lease_s=600.0, router_renew_s=0.05)
CALM = Timing(router_lease_s=1.5, router_renew_s=0.2)
"""Is over before eight renewals, and outlasts a pause of the machine."""
NAME = "router"


class Holder:
    """A process that keeps a lease until it is stopped."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self._task = asyncio.create_task(lease.hold())

    @property
    def token(self) -> str:
        return self.lease.token

    async def leads(self) -> str:
        async with asyncio.timeout(5):
            return await self.lease.held()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


Start = Callable[..., Holder]


@pytest.fixture
async def start(writer: Writer, keys: Keys) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        def start(owner: str, timing: Timing = BRISK, name: str = NAME) -> Holder:
            holder = Holder(Lease(writer, keys, name, owner, lambda: timing))
            stack.push_async_callback(holder.stop)
            return holder

        yield start


async def test_the_first_holder_gets_the_first_generation(start: Start) -> None:
    lease = start("a")

    assert lease.token == ""
    assert await lease.leads() == "1:a"


async def test_a_holder_that_renews_keeps_its_token_and_others_wait(start: Start) -> None:
    first = start("a", CALM)
    await first.leads()
    second = start("b", CALM)

    for _ in range(8):
        await first.lease.renewed()

    assert (first.token, second.token) == ("1:a", "")


async def test_another_name_is_another_lease(start: Start) -> None:
    router, manager = start("a"), start("a-2", name="model-manager")

    assert (await router.leads(), await manager.leads()) == ("1:a", "1:a-2")


async def test_a_frozen_holder_knows_before_its_successor_leads(start: Start) -> None:
    frozen = start("a", FROZEN)
    await frozen.leads()
    successor = start("b")

    token = await successor.leads()

    assert token == "2:b"
    assert frozen.token == ""


async def test_a_frozen_holder_is_fenced(start: Start, writer: Writer, keys: Keys) -> None:
    frozen = start("a", FROZEN)
    stale_token = await frozen.leads()
    await start("b").leads()

    records = RequestRecords(writer, keys, frozen.lease.fence_key)
    with pytest.raises(FencedError):
        await records.preempt(stale_token, "r1", 1, "n1")


async def test_a_clean_stop_gives_the_lease_back_at_once(start: Start) -> None:
    leader, standby = start("a", LONG), start("b", LONG)
    await leader.leads()

    await leader.stop()

    assert await standby.leads() == "2:b"
    assert leader.token == ""


async def test_a_standby_that_stops_leaves_the_lease_alone(start: Start, client: Redis) -> None:
    leader, standby = start("a", LONG), start("b", LONG)
    await leader.leads()
    await standby.lease.renewed()

    await standby.stop()

    assert await client.get(Keys().lease(NAME)) == b"a"


async def test_a_holder_that_steps_down_leads_again_as_somebody_new(start: Start) -> None:
    leader = start("a")
    await leader.leads()

    leader.lease.drop()

    assert leader.token == ""
    assert await leader.leads() == "2:a"


async def test_a_holder_that_lost_lease_and_fence_takes_a_new_generation(
    start: Start, client: Redis
) -> None:
    lease = start("a")
    await lease.leads()
    await client.set(Keys().fence(NAME), "7:z")
    await client.delete(Keys().lease(NAME))

    await until(lambda: lease.token == "8:a")


async def test_a_generation_that_comes_back_is_not_the_same_token(
    start: Start, client: Redis
) -> None:
    first = await start("a", FROZEN).leads()
    await client.flushall()

    second = await start("b").leads()

    assert (first, second) == ("1:a", "1:b")


@pytest.mark.parametrize(
    ("lease", "fence", "known", "token"),
    [
        (None, None, "", "1:a"),
        (None, "4:a", "4:a", "5:a"),
        (None, "4:b", "", "5:a"),
        ("a", "4:a", "4:a", "4:a"),
        ("a", "4:a", "", "5:a"),
        ("a", "4:a", "3:a", "5:a"),
        ("a", "4:b", "4:a", "5:a"),
        ("a", None, "4:a", "1:a"),
        ("b", "4:b", "", ""),
        ("b", "4:a", "4:a", ""),
        ("b", None, "", ""),
    ],
)
async def test_who_gets_which_token_in_each_state_of_lease_and_fence(
    client: Redis, keys: Keys, writer: Writer, lease: str, fence: str, known: str, token: str
) -> None:
    named = {"lease": keys.lease(NAME), "fence": keys.fence(NAME)}
    for key, value in ((named["lease"], lease), (named["fence"], fence)):
        if value is not None:
            await client.set(key, value)

    async def take(known: str) -> list[bytes]:
        return await writer.run(
            script("lease"), named, {"owner": "a", "known": known, "ttl_ms": 60_000}
        )

    assert await take(known) == await take(token) == [token.encode()]
    if token:
        assert await client.mget(*named.values()) == [b"a", token.encode()]
        assert 0 < await client.pttl(named["lease"]) <= 60_000
    else:
        assert await client.get(named["lease"]) == b"b"


async def test_while_the_store_is_away_nobody_leads(own_store: Store, keys: Keys) -> None:
    client = make_client(own_store.url)
    writer = Writer(client)
    holder = Holder(Lease(writer, keys, NAME, "a", lambda: BRISK))
    await holder.leads()

    own_store.kill()
    await until(lambda: holder.token == "")
    own_store.start()

    assert (await holder.leads()).endswith(":a")
    await holder.stop()
    await writer.close()
    await client.aclose()


async def test_a_dead_holder_is_succeeded_as_soon_as_ever_when_the_clock_was_set_back(
    start: Start, client: Redis, keys: Keys
) -> None:
    """Its lease then seems to last as much longer."""
    await client.set(keys.lease(NAME), "dead", ex=3600)
    await client.set(keys.fence(NAME), "7:dead")

    assert await start("b").leads() == "8:b"
