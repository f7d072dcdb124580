"""The store goes away and comes back, or the way to it is bad, while everybody works."""

import asyncio

import pytest

from tests.fakes.asking import final, said, whole
from tests.fakes.proxy import lossy_proxy
from tests.fundamentals.tour import FAST
from tests.journeys.conftest import Stage

TALE = " ".join(f"word{number}" for number in range(12))
"""More than two seconds of the slow model."""


async def test_after_a_long_outage_nobody_is_refused_for_lack_of_a_node(stage: Stage) -> None:
    """The leader meets all nodes anew; each may need its time to come back."""
    await stage.router()
    await stage.router()
    models = ("echo", "slow", "crash", "hang")
    for name in models:
        await stage.worker(f"node-of-{name}", name)

    stage.store.kill()
    await asyncio.sleep(FAST.timing.node_lost_s * 1.5)
    stage.store.start()
    streams = [await stage.asker.ask("hello", model=name, deadlinems=5000) for name in models]

    ends = [await final(stream) for stream in streams]
    assert [said(end) for end in ends[:2]] == ["hello", "hello"]
    assert "rejected" not in {end.outcome for end in ends}
    await stage.settled()


async def test_an_answer_goes_on_past_the_death_of_the_store(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1", "slow")
    stream = await stage.asker.ask(TALE, model="slow", chunks=True)
    await stream.get()

    stage.store.kill()
    stage.store.start()

    pieces, end = await whole(stream)
    heard = "word0" + "".join(piece.delta["content"] for piece in pieces)
    assert (end.outcome, heard) == ("completed", TALE) if end.complete else TALE.startswith(heard)
    await stage.settled()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_over_a_bad_network_no_answer_is_silently_cut_short(stage: Stage, seed: int) -> None:
    await stage.router()
    async with lossy_proxy(stage.store.port, loss=0.1, seed=seed) as network:
        worker = stage.processes.worker(network.url, "n1", "slow", slots=8)
        streams = [
            await stage.asker.ask(f"{TALE} {number}", model="slow", chunks=True)
            for number in range(8)
        ]
        told = await asyncio.gather(*[whole(stream, 60) for stream in streams])
        worker.kill()

    for number, (pieces, end) in enumerate(told):
        heard = "".join(piece.delta["content"] for piece in pieces)
        if end.outcome == "completed" and end.complete:
            assert heard == f"{TALE} {number}"
    assert network.cut
    assert sum(end.complete for _, end in told) >= 6
    await stage.settled()
