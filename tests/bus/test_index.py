"""A successor finds everything that waits or flies, a page at a time."""

import asyncio

from redis.asyncio import Redis

from shared.bus import index
from shared.bus.index import PAGE, Departures
from shared.bus.keys import Keys
from shared.bus.records import Row, State
from shared.bus.writer import Writer
from shared.events.base import Priority
from tests.bus.facts import BODY, MODEL, NODE, REQUEST
from tests.bus.scene import Scene, admission_of


async def waiting(scene: Scene, priority: Priority = Priority.NORMAL) -> list[list[Row]]:
    return [page async for page in index.waiting(scene.writer, scene.keys, priority, Departures())]


async def flying(scene: Scene) -> list[Row]:
    return await index.in_flight(scene.writer, scene.keys)


async def test_an_empty_index_is_one_empty_page(scene: Scene) -> None:
    assert await waiting(scene) == [[]]


async def test_a_row_says_what_the_record_says(scene: Scene) -> None:
    stored = await scene.reach("waiting_again")

    [[row]] = await waiting(scene)

    record = stored.record(REQUEST)
    assert row == Row(
        request_id=REQUEST,
        score=float(record["admitted_ms"]),
        chain=(MODEL, "m2"),
        state=State.WAITING,
        priority=Priority.NORMAL,
        tenant="local",
        model=MODEL,
        node=NODE,
        last_reason="crashed",
        operation="chat",
        attempt=1,
        charged=1,
        admitted_ms=int(record["admitted_ms"]),
        deadline_ms=int(record["deadline_ms"]),
        not_before_ms=0,
        position=1,
        first_byte_ms=0,
        inputbytes=17,
        maxtokens=0,
    )


async def test_classes_are_read_apart(scene: Scene) -> None:
    await scene.admit(priority=Priority.LOW)

    assert await waiting(scene, Priority.CRITICAL) == [[]]
    assert [row.request_id for page in await waiting(scene, Priority.LOW) for row in page] == [
        REQUEST
    ]


async def test_requests_admitted_in_one_millisecond_are_not_skipped_between_pages(
    scene: Scene,
) -> None:
    ids = [f"r{number:04}" for number in range(PAGE + 1)]
    await admit_all(scene, ids)
    await scene.client.zadd(scene.keys.waiting(Priority.NORMAL), dict.fromkeys(ids, 1))

    pages = await waiting(scene)

    assert [len(page) for page in pages] == [PAGE, 1]
    assert [row.request_id for page in pages for row in page] == ids


async def test_what_is_taken_out_between_two_pages_hides_nothing(scene: Scene) -> None:
    ids = [f"r{number:04}" for number in range(PAGE + 200)]
    await admit_all(scene, ids)
    departures = Departures()
    seen: set[str] = set()

    pages = index.waiting(scene.writer, scene.keys, Priority.NORMAL, departures)
    async for page in pages:
        seen.update(row.request_id for row in page)
        await scene.client.zrem(scene.keys.waiting(Priority.NORMAL), *ids_of(page[:100]))
        departures.begun += 100
        departures.done += 100

    assert seen == {*ids}


async def test_what_is_decided_before_a_page_and_done_after_it_hides_nothing(scene: Scene) -> None:
    ids = [f"r{number:04}" for number in range(PAGE + 200)]
    await admit_all(scene, ids)
    departures = Departures(begun=100)
    seen: set[str] = set()

    pages = index.waiting(scene.writer, scene.keys, Priority.NORMAL, departures)
    async for page in pages:
        seen.update(ids_of(page))
        await scene.client.zrem(scene.keys.waiting(Priority.NORMAL), *ids[:100])
        departures.done = 100

    assert seen == {*ids}


async def test_the_oldest_of_a_class_is_the_one_admitted_first(scene: Scene) -> None:
    await admit_all(scene, ["r1", "r2"])
    await scene.client.zadd(scene.keys.waiting(Priority.NORMAL), {"r2": 1})

    assert await index.oldest(scene.writer, scene.keys, Priority.NORMAL) == "r2"
    assert await index.oldest(scene.writer, scene.keys, Priority.LOW) is None


async def test_everything_that_flies_is_seen_at_one_moment(scene: Scene) -> None:
    await scene.client.zadd(scene.keys.flight, {f"r{number}": number for number in range(PAGE + 1)})

    assert len(await flying(scene)) == PAGE + 1


async def test_what_flies_is_found_with_its_node_and_lease(scene: Scene) -> None:
    stored = await scene.reach("streaming")

    [row] = await flying(scene)

    assert (row.state, row.node, row.model) == (State.RUNNING, NODE, MODEL)
    assert row.score == stored.flight[REQUEST]
    assert row.first_byte_ms > 0


async def test_a_slot_that_a_cancelled_request_still_holds_is_found(scene: Scene) -> None:
    await scene.reach("cancelled_running")

    [row] = await flying(scene)

    assert (row.state, row.node, row.chain) == (State.FINAL, NODE, ())


async def test_an_index_entry_whose_record_is_lost_is_a_row_of_nothing(
    client: Redis, keys: Keys, writer: Writer
) -> None:
    await client.zadd(keys.flight, {"lost": 5})

    [row] = await index.in_flight(writer, keys)

    assert (row.request_id, row.score, row.state, row.node, row.chain) == ("lost", 5.0, "", "", ())


def ids_of(page: list[Row]) -> list[str]:
    return [row.request_id for row in page]


async def admit_all(scene: Scene, ids: list[str]) -> None:
    entries = [await scene.ask({"id": request_id, "data": BODY}) for request_id in ids]
    admitting = [scene.records.admit(scene.token, each, admission_of(each)) for each in entries]
    await asyncio.gather(*admitting)
