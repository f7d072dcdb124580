"""A term commands by what it decided on, and only while it leads."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest
import redis.asyncio

from services.model_manager.app import PUBLISHES
from services.model_manager.residency import Command, decide
from services.model_manager.settings import Settings
from services.model_manager.term import Term
from services.model_manager.view import View
from shared.bus.bus import Bus
from shared.bus.envelope import Entry
from shared.bus.keys import Keys
from shared.bus.lease import Lease
from shared.bus.requests import FencedError
from shared.config import Timing
from shared.events.base import Priority
from shared.events.models import (
    ModelActionRequested,
    ModelDemand,
    ModelDemandChanged,
    ModelDemandRefused,
    ModelLoadRequested,
    ModelState,
    ModelUnloadRequested,
)
from tests.fakes.stalls import beat, device, local, resident, sample
from tests.servers import Store

NODES = ("left", "right")
ROOMY, FULL = device(9_024), device(9_024, 9_000)

Client = redis.asyncio.Redis


class Stage:
    """A term under a lease that is not renewed any more: the test says who leads."""

    def __init__(self, url: str, client: Client, keys: Keys) -> None:
        self.bus = Bus("model-manager", Settings(redis_url=url), publishes=PUBLISHES)
        self.client = client
        self.keys = keys
        long = Timing(router_lease_s=600, router_renew_s=600)
        self.lease = Lease(self.bus.writer, keys, "model-manager", "first", lambda: long)
        self._holding: asyncio.Task[None] | None = None
        self.term = Term(self.bus, self.lease, "")

    async def lead(self) -> None:
        self._holding = asyncio.create_task(self.lease.hold())
        self.term = Term(self.bus, self.lease, await self.lease.held())

    async def end(self) -> None:
        assert self._holding is not None
        self._holding.cancel()
        await asyncio.gather(self._holding, return_exceptions=True)
        await self.bus.writer.close()
        await self.bus.client.aclose()

    def hear(self, *holding: str, room: bool = True) -> None:
        """Both nodes: each offers one model, and holds it where it is named."""
        for node in NODES:
            model = f"of-{node}"
            held = [resident(model, ModelState.READY)] if model in holding else []
            now_s = monotonic()
            entry = Entry("beats", "1-1", {})
            self.term.on_heartbeat(beat([local(model)], held, name=node), entry, now_s)
            self.see(node, room)
        waiting = [
            ModelDemand(model=f"of-{node}", waiting={Priority.HIGH: 1}, oldest_wait_s=0)
            for node in NODES
        ]
        demand = ModelDemandChanged(router="1:r", demands=tuple(waiting))
        self.term.on_demand(demand, entry, monotonic())

    def see(self, node: str, room: bool) -> None:
        reading = sample(ROOMY if room else FULL, name=node)
        self.term.on_sample(reading, Entry("samples", "1-1", {}), monotonic())

    async def refused(self) -> list[list[str]]:
        """What was told, oldest first."""
        rows = await self.client.xrange(self.keys.stream(ModelDemandRefused))
        told = [ModelDemandRefused.model_validate_json(fields[b"data"]) for _, fields in rows]
        return [[each.model for each in event.refusals] for event in told]

    async def commanded(self, kind: type[Any] = ModelLoadRequested) -> list[str]:
        streams = [self.keys.stream(kind, node) for node in NODES]
        return [node for node, key in zip(NODES, streams, strict=True) if await self._any(key)]

    async def _any(self, key: str) -> bool:
        return bool(await self.client.xlen(key))


@pytest.fixture
async def stage(session_store: Store, client: Client, keys: Keys) -> AsyncIterator[Stage]:
    stage = Stage(session_store.url, client, keys)
    await stage.lead()
    yield stage
    await stage.end()


async def test_what_is_heard_while_commands_are_published_spoils_none_of_them(
    stage: Stage,
) -> None:
    stage.hear()
    ticking = asyncio.create_task(stage.term.tick(monotonic()))
    await asyncio.sleep(0)  # decided; the first command is on its way
    for node in NODES:
        stage.see(node, room=False)

    await ticking

    assert await stage.commanded() == ["left", "right"]


async def test_a_command_that_its_node_has_outrun_is_left_out_and_the_others_are_given(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.hear()

    def late(view: View, now_s: float) -> tuple[Command, ...]:
        commands = decide(view, now_s)
        stage.see("left", room=False)
        return commands

    monkeypatch.setattr("services.model_manager.term.decide", late)

    await stage.term.tick(monotonic())

    assert await stage.commanded() == ["right"]


async def test_whoever_lost_the_lease_commands_nothing(stage: Stage) -> None:
    stage.hear("of-left", "of-right")
    stage.lease.drop()
    unload = ModelActionRequested(model="of-left", action="unload")

    with pytest.raises(FencedError):
        await stage.term.tick(monotonic())
    with pytest.raises(FencedError):
        await stage.term.on_action(unload, Entry("actions", "1-1", {}), monotonic())

    assert await stage.commanded(ModelUnloadRequested) == []


async def test_a_leader_that_was_succeeded_without_noticing_is_fenced_by_the_store(
    stage: Stage,
) -> None:
    stage.hear()
    await stage.client.set(stage.lease.fence_key, "2:second")
    assert stage.lease.token == stage.term.token

    with pytest.raises(FencedError):
        await stage.term.tick(monotonic())

    assert await stage.commanded() == []


async def test_what_fits_nowhere_is_told_again_and_again_until_it_does(stage: Stage) -> None:
    stage.hear()
    now_s = monotonic()
    for node in NODES:
        stage.term.on_sample(sample(device(2_048), name=node), Entry("samples", "1-1", {}), now_s)
    await stage.term.tick(now_s)
    await stage.term.tick(now_s + 1)
    assert await stage.refused() == [["of-left", "of-right"]]

    await stage.term.tick(now_s + 2)
    stage.see("left", room=True)
    await stage.term.tick(now_s + 2.5)
    stage.see("right", room=True)
    for later_s in (3, 9):
        await stage.term.tick(now_s + later_s)

    both = ["of-left", "of-right"]
    assert await stage.refused() == [both, both, ["of-right"], []]
