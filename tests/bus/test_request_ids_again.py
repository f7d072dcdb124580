"""An id of a request that is used again, once nothing is known of its first use."""

import pytest

from shared.bus.envelope import Entry
from shared.bus.ids import attempt_id, final_id
from shared.events.base import Event
from shared.events.inference import (
    FINALS,
    InferenceAttemptFailed,
    InferenceCompleted,
    InferenceDispatched,
    InferenceRouted,
    InferenceStarted,
    InferenceStopRequested,
)
from tests.bus.facts import COMPLETED, ELSEWHERE, NODE, REQUEST, failure
from tests.bus.scene import FINAL, HOLDING, Scene
from tests.bus.stored import Fields, Stored

ABOUT_ATTEMPTS: tuple[tuple[type[Event], str | None], ...] = (
    (InferenceDispatched, NODE),
    (InferenceRouted, None),
    (InferenceStarted, None),
    (InferenceAttemptFailed, None),
    (InferenceStopRequested, NODE),
)


async def an_hour_passes(scene: Scene) -> None:
    """The tombstone is gone, and what still held a slot has let go."""
    await scene.client.delete(scene.keys.request(REQUEST), scene.keys.result(REQUEST))
    await scene.client.zrem(scene.keys.flight, REQUEST)


def ends(stored: Stored) -> list[Fields]:
    """In their order."""
    told = [end for kind in FINALS for end in stored.events(kind)]
    return sorted(told, key=lambda end: [int(part) for part in end["inboxentry"].split("-")])


@pytest.mark.parametrize("state", [*FINAL, *HOLDING])
async def test_a_second_use_of_an_id_ends_under_an_id_of_its_own(scene: Scene, state: str) -> None:
    await scene.reach(state)
    first = scene.entry.id
    await an_hour_passes(scene)

    await scene.reach(state)

    told = ends(await scene.stored())
    assert [end["inboxentry"] for end in told] == [first, scene.entry.id]
    assert [end["id"] for end in told] == [
        final_id(REQUEST, first),
        final_id(REQUEST, scene.entry.id),
    ]


@pytest.mark.parametrize("state", ["failed", "preempted", "cancelled_running"])
async def test_what_is_said_of_the_attempts_of_a_second_use_has_other_ids(
    scene: Scene, state: str
) -> None:
    await scene.reach(state)
    before = await scene.stored()
    first = scene.entry.id
    if state == "preempted":
        await scene.complete()
    await an_hour_passes(scene)

    await scene.reach(state)

    after = await scene.stored()
    for event, node in ABOUT_ATTEMPTS:
        old, new = before.events(event, node), after.events(event, node)
        told = {each["id"] for each in (*old, *new)}
        assert len(told) == 2 * len({each["id"] for each in old})
    assert [started["id"] for started in after.events(InferenceStarted)] == [
        attempt_id(InferenceStarted.type, REQUEST, entry, 1) for entry in (first, scene.entry.id)
    ]


async def test_a_restarted_worker_and_a_lost_node_tell_of_the_right_use(scene: Scene) -> None:
    await scene.reach("failed")
    await an_hour_passes(scene)
    await scene.reach("running")

    await scene.abandon()
    await scene.retry()
    await scene.dispatch(attempt=2, node=ELSEWHERE)
    await scene.settle(failed=failure(attempt=2), node_lost=True)

    _, *again = (await scene.stored()).events(InferenceAttemptFailed)
    assert [each["id"] for each in again] == [
        attempt_id(InferenceAttemptFailed.type, REQUEST, scene.entry.id, attempt)
        for attempt in (1, 2)
    ]


async def test_a_store_that_forgot_an_admission_says_the_same_of_it_again(scene: Scene) -> None:
    """After a crash its last second may be gone, though others have heard of the end."""
    entry = await scene.ask()
    kept = set(await scene.client.keys())
    told = await ends_as(scene, entry)
    await scene.client.delete(*set(await scene.client.keys()) - kept)

    assert await ends_as(scene, entry) == told


async def ends_as(scene: Scene, entry: Entry) -> str:
    """From admission on; the id of the end."""
    await scene.admit(entry)
    await scene.dispatch()
    await scene.start()
    await scene.complete()
    [end] = (await scene.stored()).events(InferenceCompleted)
    return end["id"]


async def test_what_an_older_version_admitted_still_ends(scene: Scene) -> None:
    await scene.reach("running")
    await scene.client.hdel(scene.keys.request(REQUEST), "inbox_entry")

    assert await scene.worker().complete(scene.attempt, COMPLETED) is True

    [told] = (await scene.stored()).events(InferenceCompleted)
    assert told["id"] == final_id(REQUEST)
    assert "inboxentry" not in told
