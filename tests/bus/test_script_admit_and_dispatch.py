"""`admit` with a node: what would be dispatched next is dispatched in the same call."""

import pytest

from shared.bus.keys import Keys
from shared.events.base import Priority
from shared.events.inference import InferenceDispatched, InferenceRouted
from tests.bus.facts import NODE, REQUEST
from tests.bus.scene import STATES, Scene
from tests.bus.stored import Stored

UNKNOWN = ("none", "cancelled_early")
TIMES = {
    *("received_ms", "admitted_ms", "deadline_ms", "dispatched_ms"),
    *("inbox_entry", "entry", "traceparent"),
}


@pytest.mark.parametrize("state", [each for each in STATES if each not in UNKNOWN])
async def test_a_request_that_is_known_goes_nowhere(scene: Scene, state: str) -> None:
    before = await scene.reach(state)

    answer = await scene.admit_and_dispatch()

    assert answer == "duplicate"
    assert said(await scene.stored()) == said(before)


async def test_it_is_dispatched_as_by_two_calls(scene: Scene) -> None:
    async with Scene(scene.client, Keys("other:")) as other:
        by_two = await other.reach("dispatched")

    assert await scene.admit_and_dispatch() == "dispatched"

    by_one = await scene.stored()
    assert timeless(by_one) == timeless(by_two)
    assert said(by_one) == said(by_two)
    assert by_one.body(REQUEST) == by_two.body(REQUEST)
    assert by_one.flight.keys() == by_two.flight.keys()
    assert by_one.waiting(Priority.NORMAL) == by_two.waiting(Priority.NORMAL) == {}
    assert await scene.start() is not None


async def test_the_repeated_call_changes_nothing(scene: Scene) -> None:
    entry = await scene.ask()
    await scene.admit_and_dispatch(entry)
    before = await scene.stored()

    assert await scene.admit_and_dispatch(entry) == "duplicate"

    assert await scene.stored() == before


async def test_who_was_cancelled_before_it_came_is_not_dispatched(scene: Scene) -> None:
    await scene.reach("cancelled_early")

    assert await scene.admit_and_dispatch() == "cancelled"

    assert said(await scene.stored()) == (0, 0)


def said(stored: Stored) -> tuple[int, int]:
    """How many entries tell the node and the world of an attempt."""
    dispatched = stored.stream(InferenceDispatched, NODE).entries
    return len(dispatched), len(stored.stream(InferenceRouted).entries)


def timeless(stored: Stored) -> dict[str, str]:
    return {name: value for name, value in stored.record(REQUEST).items() if name not in TIMES}
