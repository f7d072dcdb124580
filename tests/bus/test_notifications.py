"""An endpoint's queue: leased, tried again when due, and settled by whoever holds the lease."""

from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from shared.bus.keys import Keys
from shared.bus.notifications import (
    NOTIFIER,
    SwitchedOff,
    Taken,
    letters_of,
    queued_since,
    undelivered,
    waiting,
)
from shared.bus.writer import ScriptError, Writer
from shared.events.notifications import (
    NotificationDelivered,
    NotificationFailed,
    NotificationQueued,
)
from shared.events.operations import AlertRaised, AlertResolved, DeadLetter
from tests.bus.notifications import (
    ALERT,
    ENDPOINT,
    FAILED,
    LONG_S,
    RESOLVED,
    SHORT_S,
    Queue,
    delivered,
)
from tests.bus.stored import read
from tests.waiting import until


@pytest.fixture
def scene(client: Redis, keys: Keys, writer: Writer) -> Queue:
    return Queue(client, keys, writer)


def ids(taken: list[Taken]) -> list[str]:
    return [each.entry.text("id") for each in taken]


async def test_what_is_queued_is_taken_in_its_order_and_by_one_notifier(scene: Queue) -> None:
    await scene.add(1, 2, 3)

    assert ids(await scene.take("a", room=2)) == ["e1", "e2"]
    assert ids(await scene.take("b", room=2)) == ["e3"]
    assert await scene.take("a") == await scene.take("b") == []


async def test_a_queue_that_does_not_exist_yet_is_empty(scene: Queue) -> None:
    assert await scene.take() == []

    await scene.add(1)
    assert ids(await scene.take()) == ["e1"]


async def test_what_was_queued_before_the_group_was_lost_is_taken_again(scene: Queue) -> None:
    await scene.add(1)
    await scene.take()
    await scene.client.xgroup_destroy(scene.stream, NOTIFIER)
    await scene.client.delete(scene.keys.deliveries(ENDPOINT))

    assert ids(await scene.take()) == ["e1"]


async def test_a_lease_that_ends_makes_it_somebody_else_s(scene: Queue) -> None:
    await scene.add(1)
    [dead] = await scene.take("a", lease_s=SHORT_S)

    [taken] = await until(lambda: scene.take("b"))

    assert (dead.turn, taken.turn) == (1, 2)
    assert await scene.notifier("a").delivered(dead, delivered(dead)) is False
    assert await scene.notifier("b").delivered(taken, delivered(taken)) is True
    stored = await scene.stored()
    assert [event["id"] for event in stored.events(NotificationDelivered)]
    assert len(stored.events(NotificationDelivered)) == 1


async def test_a_delivery_is_settled_with_its_event_and_leaves_nothing(scene: Queue) -> None:
    await scene.add(1)
    [taken] = await scene.take()

    assert await scene.notifier().delivered(taken, delivered(taken))
    assert await scene.notifier().delivered(taken, delivered(taken)) is False

    stored = await scene.stored()
    assert stored.stream(NotificationQueued, ENDPOINT).pending == {NOTIFIER: []}
    assert len(stored.stream(NotificationQueued, ENDPOINT).entries) == 1, "kept for redelivery"
    [event] = stored.events(NotificationDelivered)
    assert event["causationid"] == "e1"
    assert (stored.zsets, stored.hashes) == ({}, {})


async def test_what_is_given_up_becomes_a_dead_letter_in_the_same_step(scene: Queue) -> None:
    await scene.add(1)
    [taken] = await scene.take()

    assert await scene.notifier().given_up(taken, FAILED, "status: HTTP 500")

    stored = await scene.stored()
    [letter] = stored.events(DeadLetter)
    assert letter["x-id"] == "e1"
    assert "notification.queued.v1:n8n" in letter["data"]
    assert len(stored.events(NotificationFailed)) == 1
    assert stored.zsets == {}
    [found] = [each async for each in letters_of(scene.client, scene.keys, ENDPOINT)]
    assert found.original[b"subject"] == b"n1"
    assert [each async for each in letters_of(scene.client, scene.keys, "other")] == []


async def test_what_is_put_off_comes_when_it_is_due_and_remembers_what_counted(
    scene: Queue,
) -> None:
    await scene.add(1)
    [first] = await scene.take()
    for _ in range(2):
        assert await scene.notifier().put_off(first, SHORT_S, charge=1), "its answer may be lost"
    [second] = await until(scene.take)
    assert await scene.notifier().put_off(second, SHORT_S, charge=0)
    [third] = await until(scene.take)

    assert [each.charged for each in (first, second, third)] == [0, 1, 1]
    assert [each.turn for each in (first, second, third)] == [1, 2, 3]
    assert await scene.notifier().put_off(second, SHORT_S, charge=1) is False


async def test_what_waits_for_its_next_attempt_holds_up_nothing(scene: Queue) -> None:
    await scene.add(1, 2)
    [first] = await scene.take(room=1)
    await scene.notifier().put_off(first, LONG_S, charge=1)

    assert ids(await scene.take()) == ["e2"]


async def test_repeats_are_bounded_so_that_new_ones_get_their_turn(scene: Queue) -> None:
    await scene.add(1, 2, 3)
    for each in await scene.take():
        await scene.notifier().put_off(each, 0, charge=1)
    await scene.add(4, 5)

    assert ids(await scene.take(again=1, room=3)) == ["e1", "e4", "e5"]
    assert ids(await scene.take(again=-1, room=3)) == []
    assert ids(await scene.take(again=2, room=1)) == ["e2"]


async def test_an_endpoint_rests_as_a_whole(scene: Queue) -> None:
    await scene.add(1, 2)
    [first] = await scene.take(room=1)
    await scene.notifier().put_off(first, 0.3, charge=0, rest_s=0.3)

    assert await scene.take("a") == await scene.take("b") == []
    assert ids(await until(scene.take)) == ["e1", "e2"]


async def test_an_endpoint_that_is_off_is_left_alone_until_it_is_switched_on(
    scene: Queue,
) -> None:
    await scene.add(1, 2)
    first, second = await scene.take()
    for each in (first, second):
        assert await scene.notifier().switch_off(each, "digest-1", ALERT)

    assert await scene.notifier("b").take(1, 1, LONG_S) == SwitchedOff("digest-1")
    for _ in range(2):
        await scene.notifier().switch_on(RESOLVED, "1")

    stored = await scene.stored()
    assert len(stored.events(AlertRaised)) == 1, "said by the first of them"
    assert len(stored.events(AlertResolved)) == 1
    again = await scene.take()
    assert ids(again) == ["e1", "e2"]
    assert [each.charged for each in again] == [0, 0]


async def test_an_entry_that_was_cut_is_forgotten(scene: Queue) -> None:
    await scene.add(1)
    [taken] = await scene.take()
    await scene.notifier().put_off(taken, 0, charge=1)
    await scene.client.xtrim(scene.stream, maxlen=0, approximate=False)

    assert await scene.take() == []

    stored = await scene.stored()
    assert stored.stream(NotificationQueued, ENDPOINT).pending == {NOTIFIER: []}
    assert (stored.zsets, stored.hashes) == ({}, {})


async def test_an_entry_that_is_no_notification_is_kept_as_a_dead_letter(scene: Queue) -> None:
    await scene.client.xadd(scene.stream, {"nonsense": "x"})
    [taken] = await scene.take()

    assert await scene.notifier().buried(taken, "invalid")

    stored = await scene.stored()
    [letter] = stored.events(DeadLetter)
    assert letter["x-nonsense"] == "x"
    assert stored.stream(NotificationQueued, ENDPOINT).pending == {NOTIFIER: []}


KEYS_OF: dict[str, Callable[[Keys], str]] = {
    "deliveries": lambda keys: keys.deliveries(ENDPOINT),
    "tries": lambda keys: keys.tries(ENDPOINT),
    "delivered": lambda keys: keys.stream(NotificationDelivered),
}


@pytest.mark.parametrize("name", KEYS_OF)
async def test_a_key_of_a_foreign_type_changes_nothing(scene: Queue, name: str) -> None:
    await scene.add(1)
    [taken] = await scene.take()
    key = KEYS_OF[name](scene.keys)
    await scene.client.delete(key)
    await scene.client.set(key, "x")
    before = await read(scene.client, scene.keys)

    with pytest.raises(ScriptError, match=key):
        await scene.notifier().delivered(taken, delivered(taken))

    assert await read(scene.client, scene.keys) == before


async def test_a_full_store_drains(scene: Queue) -> None:
    await scene.add(1, 2)
    await scene.client.config_set("maxmemory", 1)
    try:
        first, second = await scene.take()
        assert await scene.notifier().delivered(first, delivered(first))
        assert await scene.notifier().put_off(second, 1.0, charge=1)
    finally:
        await scene.client.config_set("maxmemory", 0)


async def test_what_waits_is_counted_whether_or_not_it_was_tried(scene: Queue) -> None:
    assert (await waiting(scene.client, scene.keys, ENDPOINT)).undelivered == 0
    await scene.add(1, 2, 3)
    before = await waiting(scene.client, scene.keys, ENDPOINT)
    [first] = await scene.take(room=1)
    await scene.notifier().put_off(first, LONG_S, charge=1, rest_s=LONG_S)

    after = await waiting(scene.client, scene.keys, ENDPOINT)

    assert before.undelivered == after.undelivered == 3
    assert before.oldest_ms == after.oldest_ms == first.entry.milliseconds
    assert before.next_ms is None
    assert after.next_ms == after.rests_until_ms
    assert not after.off


async def test_what_was_queued_is_found_again_also_after_its_delivery(scene: Queue) -> None:
    await scene.add(1, 2)
    first, second = await scene.take()
    await scene.notifier().delivered(first, delivered(first))

    found = [each async for each in queued_since(scene.client, scene.keys, ENDPOINT, 0)]

    assert [each.text("id") for each in found] == ["e1", "e2"]
    left = await undelivered(scene.client, scene.keys, ENDPOINT)
    assert [each.id for each in (first.entry, second.entry) if each.id in left] == [second.entry.id]
