"""A service's connection: it publishes a fact once, and finds what it has not settled."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.bus.bus import Bus, UndeclaredError
from shared.bus.ids import derived_id
from shared.bus.keys import Keys
from shared.bus.scripts import script
from shared.bus.writer import Writer
from shared.events.models import ModelLoadRequested, NodeHeartbeat, NodeLost, NodeReturned
from shared.settings import ServiceSettings
from tests.bus.stored import Stored, read
from tests.servers import Store

LOST = NodeLost(node="n1", silent_ms=5)
LOAD = ModelLoadRequested(model="m1", context_tokens=8, slots=1, reason="asked")
BEAT = NodeHeartbeat(node="n1", instance="w1", inventory=(), resident=(), in_flight=0)


@pytest.fixture
async def bus(client: Redis, session_store: Store) -> AsyncIterator[Bus]:
    settings = ServiceSettings(redis_url=session_store.url)
    bus = Bus("router", settings, publishes=(NodeLost, ModelLoadRequested, NodeHeartbeat))
    yield bus
    await bus.stop()


async def stored(client: Redis) -> Stored:
    return (await read(client, Keys()))[0]


async def test_the_same_fact_is_published_once(bus: Bus, client: Redis) -> None:
    await asyncio.gather(*[bus.publish(LOST, ordinal="5-0") for _ in range(10)])

    [lost] = (await stored(client)).events(NodeLost)
    assert lost["id"] == derived_id(NodeLost.type, "n1", "5-0")
    assert lost["source"] == "router"


async def test_the_next_fact_of_the_kind_has_another_ordinal(bus: Bus, client: Redis) -> None:
    await bus.publish(LOST, ordinal="5-0")
    await bus.publish(LOST, ordinal="6-0")

    assert len((await stored(client)).events(NodeLost)) == 2


async def test_samples_are_all_published(bus: Bus, client: Redis) -> None:
    await bus.publish(BEAT)
    await bus.publish(BEAT)

    assert len((await stored(client)).events(NodeHeartbeat)) == 2


async def test_a_command_goes_to_its_nodes_stream(bus: Bus, client: Redis) -> None:
    await bus.publish(LOAD, node="n1", ordinal="1")

    after = await stored(client)
    assert len(after.events(ModelLoadRequested, "n1")) == 1
    assert after.events(ModelLoadRequested) == []


async def test_an_undeclared_event_is_not_published(bus: Bus, client: Redis) -> None:
    with pytest.raises(UndeclaredError, match=r"node\.returned"):
        await bus.publish(NodeReturned(node="n1"))

    assert (await stored(client)).streams == {}


async def test_what_was_delivered_and_not_settled_is_found_again(bus: Bus, client: Redis) -> None:
    await bus.ensure_group("s")
    ids = [await client.xadd("s", {"n": number}) for number in range(3)]
    await client.xreadgroup("router", "c", {"s": ">"})
    await client.xack("s", "router", ids[0])

    found = await bus.pending("s", "c")

    assert [entry.id.encode() for entry in found] == ids[1:]
    assert [entry.text("n") for entry in found] == ["1", "2"]
    assert await bus.pending("s", "another") == []


async def test_an_entry_that_was_deleted_is_not_pending_for_ever(bus: Bus, client: Redis) -> None:
    await bus.ensure_group("s")
    await client.xadd("s", {"n": "1"}, id="1-1")
    await client.xreadgroup("router", "c", {"s": ">"})
    await client.xdel("s", "1-1")

    assert await bus.pending("s", "c") == []

    assert (await stored(client)).streams["s"].pending == {"router": []}


async def test_a_stream_whose_group_is_lost_has_nothing_pending(bus: Bus, client: Redis) -> None:
    assert await bus.pending("s", "c") == []

    assert (await stored(client)).streams["s"].pending == {"router": []}


async def test_the_guard_forgets_after_ten_minutes(client: Redis, writer: Writer) -> None:
    named = {"stream": "s", "guard": "g"}
    first = await writer.run(script("publish"), named, events={"event": ["id", "1"]})
    again = await writer.run(script("publish"), named, events={"event": ["id", "1"]})

    rows: Any = await client.xrange("s")
    [(entry_id, _)] = rows
    assert (first, again) == ([b"ok", entry_id], [b"duplicate"])
    assert 590 < await client.ttl("g") <= 600
