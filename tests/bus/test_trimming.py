"""Streams are cut behind their readers: never what a core group needs, late what others need."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json
from redis.asyncio import Redis

from shared.bus.keys import Keys
from shared.bus.tail import redis_now_ms
from shared.bus.trimming import Reader, floor, order, trim
from shared.events.base import Event
from shared.events.gpu import GpuSampled
from shared.events.inference import InferenceCompleted, InferenceRequested
from shared.events.operations import AlertRaised, DeadLetter
from tests.bus.stored import Stored, read

HOUR_MS = 3600 * 1000
CORE = Reader("router", "500-0", core=True)
SLOW_CORE = Reader("audit-logger", "200-7", core=True)
FOLLOWER = Reader("graph-store", "300-0", core=False)
OTHER_FOLLOWER = Reader("n8n", "100-0", core=False)


@pytest.mark.parametrize(
    ("readers", "crowded", "first_kept"),
    [
        ([], False, "250-0"),
        ([], True, "250-0"),
        ([FOLLOWER], False, "250-0"),
        ([CORE], False, "500-0"),
        ([CORE], True, "500-0"),
        ([CORE, SLOW_CORE], False, "200-7"),
        ([CORE, SLOW_CORE], True, "200-7"),
        ([CORE, FOLLOWER], False, "300-0"),
        ([CORE, FOLLOWER], True, "500-0"),
        ([CORE, OTHER_FOLLOWER], False, "250-0"),
        ([CORE, FOLLOWER, OTHER_FOLLOWER], False, "250-0"),
        ([SLOW_CORE, FOLLOWER], False, "200-7"),
    ],
)
def test_the_first_entry_that_is_kept(
    readers: list[Reader], crowded: bool, first_kept: str
) -> None:
    assert floor(readers, 250, crowded=crowded) == first_kept


def test_a_young_stream_is_kept_from_its_beginning() -> None:
    assert floor([], -5, crowded=False) == "0-0"


READERS = st.lists(
    st.builds(
        Reader,
        name=st.just("x"),
        needs_from=st.builds("{}-{}".format, st.integers(0, 99), st.integers(0, 3)),
        core=st.booleans(),
    )
)


@given(READERS, st.integers(-10, 110), st.booleans())
def test_nothing_that_a_core_group_needs_is_ever_cut(
    readers: list[Reader], oldest_ms: int, crowded: bool
) -> None:
    cut = floor(readers, oldest_ms, crowded=crowded)

    assert all(order(cut) <= order(each.needs_from) for each in readers if each.core)


@given(READERS, st.integers(-10, 110))
def test_a_follower_loses_only_what_is_too_old(readers: list[Reader], oldest_ms: int) -> None:
    cut = order(floor(readers, oldest_ms, crowded=False))

    assert all(cut <= max(order(each.needs_from), (oldest_ms, 0)) for each in readers)


@pytest.mark.parametrize("ids", [["9-0", "10-0"], ["10-2", "10-10"], ["0-1", "1-0"]])
def test_ids_are_ordered_as_numbers(ids: list[str]) -> None:
    assert sorted(reversed(ids), key=order) == ids


class Cut:
    """A stream with entries of given ages, in hours, and what is left after a trim."""

    def __init__(self, client: Redis, keys: Keys, now_ms: int) -> None:
        self.client, self.keys, self.now_ms = client, keys, now_ms

    async def add(self, event: type[Event], *ages_h: float, **fields: str | bytes) -> list[str]:
        ids = [f"{self.now_ms - int(age_h * HOUR_MS)}-0" for age_h in ages_h]
        stream, given = self.keys.stream(event), cast("Any", fields or {"data": "{}"})
        for entry_id in ids:
            await self.client.xadd(stream, given, id=entry_id)
        return ids

    async def group(
        self, event: type[Event], name: str, delivered: int = 0, settled: int | None = None
    ) -> None:
        """A group that was handed the first entries, and settled some of them."""
        stream = self.keys.stream(event)
        await self.client.xgroup_create(stream, name, id="0")
        if not delivered:
            return
        reply: Any = await self.client.xreadgroup(name, "c", {stream: ">"}, count=delivered)
        ids = [row[0] for row in reply[0][1]]
        for entry_id in ids[: delivered if settled is None else settled]:
            await self.client.xack(stream, name, entry_id)

    async def trim(self) -> Stored:
        await trim(self.client, self.keys)
        stored, _ = await read(self.client, self.keys)
        return stored


@pytest.fixture
async def cut(client: Redis, keys: Keys) -> Cut:
    return Cut(client, keys, await redis_now_ms(client))


def kept(stored: Stored, event: type[Event]) -> list[str]:
    return [*stored.stream(event).entries]


async def test_what_every_core_group_settled_is_cut(cut: Cut) -> None:
    ids = await cut.add(InferenceCompleted, 1.4, 1.3, 1.2, 1.1)
    await cut.group(InferenceCompleted, "router", delivered=3)
    await cut.group(InferenceCompleted, "audit-logger", delivered=2)

    stored = await cut.trim()

    assert kept(stored, InferenceCompleted) == ids[2:]


async def test_an_entry_that_a_core_group_has_not_settled_keeps_all_after_it(cut: Cut) -> None:
    ids = await cut.add(InferenceCompleted, 300, 200, 100, 50)
    await cut.group(InferenceCompleted, "audit-logger", delivered=4, settled=1)

    stored = await cut.trim()

    assert kept(stored, InferenceCompleted) == ids[1:]
    assert stored.events(AlertRaised) == []


async def test_a_core_group_that_read_nothing_keeps_everything(cut: Cut) -> None:
    ids = await cut.add(InferenceCompleted, 300, 1)
    await cut.group(InferenceCompleted, "model-manager")

    assert kept(await cut.trim(), InferenceCompleted) == ids


async def test_a_follower_holds_back_what_is_younger_than_a_day(cut: Cut) -> None:
    ids = await cut.add(InferenceCompleted, 23, 22, 0.1)
    await cut.group(InferenceCompleted, "router", delivered=3)
    await cut.group(InferenceCompleted, "graph-store", delivered=1)

    stored = await cut.trim()

    assert kept(stored, InferenceCompleted) == ids[1:]
    assert stored.events(AlertRaised) == []


async def test_a_follower_that_is_too_slow_is_cut_and_told_what_it_lost(cut: Cut) -> None:
    ids = await cut.add(InferenceCompleted, 30, 26, 25, 1)
    await cut.group(InferenceCompleted, "router", delivered=4)
    await cut.group(InferenceCompleted, "graph-store", delivered=2)
    await cut.group(InferenceCompleted, "n8n", delivered=3)

    stored = await cut.trim()

    [alert] = stored.events(AlertRaised)
    summary = from_json(alert["data"])["summary"]
    assert kept(stored, InferenceCompleted) == ids[3:]
    assert from_json(alert["data"])["alert"] == (
        "follower_cut:rh:inference.completed.v1:graph-store"
    )
    lost = summary.partition("; entries ")[2].removesuffix(" are lost to it")
    lost_from, lost_to = (order(entry_id) for entry_id in lost.split(" to "))
    assert order(ids[1]) < lost_from <= order(ids[2]) < lost_to <= order(ids[3])


async def test_a_follower_that_read_everything_loses_nothing(cut: Cut) -> None:
    await cut.add(InferenceCompleted, 30, 26)
    await cut.group(InferenceCompleted, "graph-store", delivered=2)

    stored = await cut.trim()

    assert kept(stored, InferenceCompleted) == []
    assert stored.events(AlertRaised) == []


async def test_a_loss_is_told_once(cut: Cut) -> None:
    await cut.add(InferenceCompleted, 30, 1)
    await cut.group(InferenceCompleted, "n8n")

    await cut.trim()

    assert len((await cut.trim()).events(AlertRaised)) == 1


async def test_a_stream_that_nobody_needs_is_kept_for_a_day(cut: Cut) -> None:
    ids = await cut.add(InferenceCompleted, 25, 23)

    assert kept(await cut.trim(), InferenceCompleted) == ids[1:]


async def test_samples_are_kept_for_ten_minutes(cut: Cut) -> None:
    ids = await cut.add(GpuSampled, 0.5, 0.1)

    assert kept(await cut.trim(), GpuSampled) == ids[1:]


async def test_dead_letters_are_kept_however_old_they_are(cut: Cut) -> None:
    ids = await cut.add(DeadLetter, 10_000, 1)

    assert kept(await cut.trim(), DeadLetter) == ids


async def test_a_flood_of_dead_letters_does_not_fill_the_store(
    cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.bus.trimming.DEAD_LETTERS_KEPT", 100)
    pipeline = cut.client.pipeline()
    for number in range(500):
        pipeline.xadd(cut.keys.stream(DeadLetter), {"data": "{}"}, id=f"{number + 1}-0")
    await pipeline.execute()

    left = kept(await cut.trim(), DeadLetter)

    assert 100 <= len(left) < 500
    assert left[-1] == "500-0"


async def test_what_is_no_contract_is_left_alone(cut: Cut) -> None:
    await cut.client.xadd(cut.keys.reply("gateway.v1"), {"request": "r1"}, id="1-0")
    await cut.client.xadd("other.v1", {"data": "{}"}, id="1-0")

    await cut.trim()

    assert await cut.client.xlen(cut.keys.reply("gateway.v1")) == 1
    assert await cut.client.xlen("other.v1") == 1


async def test_large_bodies_go_with_their_entries(cut: Cut) -> None:
    for number, age_h in enumerate((0.3, 0.2, 0.1)):
        await cut.client.set(cut.keys.blob(f"b{number}"), "large")
        await cut.add(InferenceRequested, age_h, dataref=f"b{number}")
    await cut.group(InferenceRequested, "router", delivered=2)

    stored = await cut.trim()

    assert len(kept(stored, InferenceRequested)) == 1
    assert [*stored.strings] == [cut.keys.blob("b2")]


async def test_many_large_bodies_go_too(cut: Cut) -> None:
    inbox, pipeline = cut.keys.stream(InferenceRequested), cut.client.pipeline()
    for number in range(250):
        pipeline.set(cut.keys.blob(f"b{number}"), "large")
        pipeline.xadd(inbox, {"dataref": f"b{number}"}, id=f"{number + 1}-0")
    await pipeline.execute()
    await cut.group(InferenceRequested, "router", delivered=250)

    assert (await cut.trim()).strings == {}


async def test_a_reference_that_is_no_text_does_not_stop_the_trimmer(cut: Cut) -> None:
    await cut.add(InferenceRequested, 0.2, dataref=b"\xff\xfe")
    await cut.group(InferenceRequested, "router", delivered=1)

    assert kept(await cut.trim(), InferenceRequested) == []


@pytest.mark.parametrize("maxmemory", [None, 1], ids=["a third of it", "all of it"])
async def test_when_streams_crowd_the_store_only_core_groups_hold_them_back(
    cut: Cut, maxmemory: int | None
) -> None:
    ids = await cut.add(InferenceCompleted, 2, 1, filler="x" * 2**20)
    await cut.group(InferenceCompleted, "router", delivered=1)
    await cut.group(InferenceCompleted, "graph-store")
    held = await cut.client.memory_usage(cut.keys.stream(InferenceCompleted), samples=0)
    await cut.client.config_set("maxmemory", maxmemory or 3 * int(held or 0))
    try:
        stored = await cut.trim()
    finally:
        await cut.client.config_set("maxmemory", 0)

    assert kept(stored, InferenceCompleted) == ids[1:]
    assert len(stored.events(AlertRaised)) == 1


async def test_trimming_twice_is_trimming_once(cut: Cut) -> None:
    await cut.add(InferenceCompleted, 30, 26, 25, 1)
    await cut.group(InferenceCompleted, "router", delivered=3)

    assert await cut.trim() == await cut.trim()
