"""Everything that can be killed or frozen is, by a seeded schedule, while requests come and go."""

import asyncio
import os
import random
from time import monotonic

import pytest

from tests.fakes.processes import Child
from tests.journeys import checker
from tests.journeys.conftest import Stage
from tests.waiting import until

REQUESTS = 600
FAULTS = 24
NODES = ("n1", "n2", "n3")
MODELS = ("echo", "slow", "crash")


class Chaos:
    """Hurts what runs, and brings back what it killed."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._random = random.Random(seed)
        self.routers: list[Child] = []
        self.workers: dict[str, Child] = {}
        self.hurt = 0

    async def begin(self) -> None:
        self.routers = [await self._stage.router(), await self._stage.router()]
        for node in NODES:
            self.workers[node] = await self._stage.worker(node, *MODELS)

    async def strike(self) -> None:
        """One fault of a random kind; the frozen ones thaw after their lease has ended."""
        kind = self._random.choice(("router", "worker", "worker", "freeze router", "freeze worker"))
        node = self._random.choice(NODES)
        place = self._random.randrange(2)
        self.hurt += 1
        match kind:
            case "router":
                self.routers[place].kill()
                self.routers[place] = self._stage.processes.router(self._stage.store.url)
            case "worker":
                self.workers[node].kill()
                self.workers[node] = self._stage.processes.worker(
                    self._stage.store.url, node, *MODELS
                )
            case "freeze router":
                await self._freeze(self.routers[place])
            case _:
                await self._freeze(self.workers[node])

    async def lose_the_store(self) -> None:
        """kill -9 of the store, and its return from the append-only file."""
        self._stage.store.kill()
        self._stage.store.start()
        self.hurt += 1

    async def _freeze(self, child: Child) -> None:
        child.freeze()
        await asyncio.sleep(self._random.uniform(1.0, 2.5))
        child.thaw()


@pytest.mark.timeout(240)
async def test_every_request_ends_once_whatever_is_killed(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    with capsys.disabled():
        print(f"\nCHAOS_SEED={seed}")  # noqa: T201 - without it nobody could replay the failure
    chaos = Chaos(stage, seed)
    await chaos.begin()
    asking = asyncio.create_task(_ask_for_much(stage, random.Random(seed + 1)))

    for fault in range(FAULTS):
        await (chaos.lose_the_store() if fault == FAULTS // 2 else chaos.strike())
        await asyncio.sleep(0.3)
    await asking

    async def all_ended() -> bool:
        counted = await checker.finals(stage.client)
        return all(counted[each] for each in stage.asker.asked)

    try:
        await until(all_ended, timeout_s=90, every_s=0.5)
    except AssertionError as error:
        counted = await checker.finals(stage.client)
        left = [each for each in stage.asker.asked if not counted[each]]
        raise AssertionError(
            f"CHAOS_SEED={seed}: {len(left)} have not ended: {left[:5]}"
        ) from error

    async def nothing_flies() -> bool:
        return await stage.client.zcard(checker.KEYS.flight) == 0

    await until(nothing_flies, timeout_s=20)
    assert chaos.hurt == FAULTS
    assert int((await stage.client.get(checker.KEYS.fence("router"))).split(b":")[0]) > 1
    await checker.everything_ended_once(stage.client, stage.asker.asked)


async def _ask_for_much(stage: Stage, choice: random.Random) -> None:
    """Plain requests, streams, duplicates, short deadlines, and some that are cancelled."""
    began_s = monotonic()
    for number in range(REQUESTS):
        model = choice.choices(MODELS, (8, 2, 1))[0]
        terms = {"deadlinems": 400} if choice.random() < 0.05 else {"deadlinems": 60_000}
        chunks = choice.random() < 0.2
        stream = await stage.asker.ask(
            f"request {number} here", model=model, chunks=chunks, **terms
        )
        if choice.random() < 0.03:
            again = stream.request_id
            await stage.asker.ask(
                f"request {number} here", model=model, chunks=chunks, again=again, **terms
            )
        if choice.random() < 0.08:
            await stage.asker.requester.cancel(stream.request_id, "chaos")
        await asyncio.sleep(max(0.0, began_s + number * 0.03 - monotonic()))
