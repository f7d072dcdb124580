"""A node has one worker, whatever happens to it: restarts, doubles, zombies, clean stops."""

import asyncio
from time import monotonic

from shared.events.models import NodeHeartbeat
from tests.fakes.asking import final
from tests.journeys import checker
from tests.journeys.conftest import Stage
from tests.waiting import until

LONG = "a b c d e f g h i j"
"""Two seconds of the slow model."""


async def test_a_second_worker_of_a_node_refuses_to_start(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")

    second = stage.processes.worker(stage.store.url, "n1", "echo")

    await until(lambda: second.process.exitcode is not None, timeout_s=20)
    assert second.process.exitcode == 1
    assert "node n1 already has a worker" in second.log.read_text()
    assert (await stage.asker.answer("still served")).outcome == "completed"
    await stage.settled()


async def test_a_zombie_whose_node_was_taken_over_is_fenced_and_ends(stage: Stage) -> None:
    await stage.router()
    zombie = await stage.worker("n1")
    streams = [await stage.asker.ask(LONG, model="slow") for _ in range(3)]
    await stage.running(3)

    zombie.freeze()
    successor = await stage.worker("n1")
    zombie.thaw()

    ends = await asyncio.gather(*[final(stream) for stream in streams])
    assert {end.outcome for end in ends} == {"completed"}
    await until(lambda: zombie.process.exitcode is not None, timeout_s=10)
    assert (await successor.ready() or {})["status"] == 200
    assert await stage.client.exists(checker.KEYS.node("n1"))
    await stage.settled()


async def test_a_worker_that_is_stopped_hands_its_work_back_at_once(stage: Stage) -> None:
    await stage.router()
    leaving = await stage.worker("n1")
    streams = [await stage.asker.ask(LONG, model="slow") for _ in range(3)]
    await stage.running(3)
    await stage.worker("n2")

    stopped_s = monotonic()
    assert await asyncio.to_thread(leaving.terminate) == 0
    assert monotonic() - stopped_s < 5

    ends = await asyncio.gather(*[final(stream) for stream in streams])
    assert {end.data["node"] for end in ends} == {"n2"}
    told = await stage.stories()
    reasons = {entry["data"]["reason"] for story in told.values() for entry in story.failed}
    assert reasons == {"worker_restarted"}
    await stage.settled()


async def test_a_worker_that_leaves_is_given_nothing_more(stage: Stage) -> None:
    await stage.router()
    leaving = await stage.worker("n1")
    await stage.worker("n2")

    assert await asyncio.to_thread(leaving.terminate) == 0
    ends = await asyncio.gather(*[stage.asker.answer(f"number {n}") for n in range(8)])

    assert {(end.data["node"], end.data["attempt"]) for end in ends} == {("n2", 1)}
    beats = await checker.said(stage.client, checker.KEYS.stream(NodeHeartbeat))
    last = [beat["data"] for beat in beats if beat["data"]["node"] == "n1"][-1]
    assert {model["state"] for model in last["resident"]} == {"draining"}
    await stage.settled()
