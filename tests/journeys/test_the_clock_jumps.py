"""The wall clock of the store's machine is set; no request waits for the time to come back."""

import pytest

from shared.bus.keys import Keys
from shared.events.inference import InferenceAttemptFailed, InferenceRouted
from shared.events.models import NodeLost
from tests.fakes.asking import final, said
from tests.fakes.clock import Clock
from tests.journeys import checker
from tests.journeys.conftest import Stage
from tests.servers import Store
from tests.waiting import until

FIVE_MINUTES_S = 300.0
KEYS = Keys()


@pytest.fixture
def own_store(jumping_store: Store) -> Store:
    return jumping_store


async def test_a_retry_is_not_put_off_until_a_clock_that_was_set_back_has_caught_up(
    stage: Stage, clock: Clock
) -> None:
    await stage.router()
    await stage.worker("n1")
    stream = await stage.asker.ask("one two three", model="crash", deadlinems=600_000)
    await until(lambda: stage.client.xlen(KEYS.stream(InferenceAttemptFailed)), timeout_s=15)

    clock.jump(-FIVE_MINUTES_S)

    end = await final(stream, 40)
    assert end.data["reason"] == "attempts_exhausted"
    assert await checker.finals(stage.client) == {stream.request_id: 1}


async def test_a_node_that_falls_silent_after_the_clock_was_set_back_is_lost_soon(
    stage: Stage, clock: Clock
) -> None:
    await stage.router()
    first = await stage.worker("n1")
    clock.jump(-FIVE_MINUTES_S)
    await stage.worker("n2")
    stream = await stage.asker.ask("one two three", model="slow", deadlinems=600_000)
    routed = KEYS.stream(InferenceRouted)
    await until(lambda: stage.client.xlen(routed), timeout_s=15)

    first.kill()

    await until(lambda: stage.client.xlen(KEYS.stream(NodeLost)), timeout_s=15)
    assert said(await final(stream, 40)) == "one two three"
    assert await checker.finals(stage.client) == {stream.request_id: 1}


async def test_what_runs_while_the_clock_is_put_forward_is_answered_once(
    stage: Stage, clock: Clock
) -> None:
    """Its lease is over at once, so another attempt takes its place and only one counts."""
    await stage.router()
    await stage.worker("n1")
    await stage.worker("n2")
    streams = [
        await stage.asker.ask("one two three", model="slow", deadlinems=900_000) for _ in range(8)
    ]
    await stage.running(8)

    clock.jump(FIVE_MINUTES_S)

    for stream in streams:
        assert said(await final(stream, 40)) == "one two three"
    assert await checker.finals(stage.client) == dict.fromkeys(stage.asker.asked, 1)
