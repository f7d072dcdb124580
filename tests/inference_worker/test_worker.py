"""A node's one worker: the name, the engines, what a predecessor left, and a clean stop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from pydantic_core import from_json

from services.inference_worker.app import Assemble, create_app
from services.inference_worker.backends.port import Backend
from services.inference_worker.handlers import Worker
from services.inference_worker.settings import Settings
from services.router.app import create_app as create_router
from services.router.policy.view import Node
from services.router.settings import Settings as RouterSettings
from shared.bus.configuration import store_configuration
from shared.bus.envelope import Entry, envelope
from shared.bus.keys import Keys
from shared.config import Config, NodeConfig, Timing
from shared.events.base import Event
from shared.events.inference import (
    InferenceAttemptFailed,
    InferenceDispatched,
    InferenceRequested,
    InferenceStarted,
)
from shared.events.models import (
    ModelLoadRequested,
    ModelUnloadRequested,
    NodeHeartbeat,
)
from shared.service import Service, StartError
from tests.fakes.backend import ScriptedBackend
from tests.fundamentals.tour import FAST
from tests.servers import Store
from tests.waiting import until

NODE = "box"
CONFIG = FAST.model_copy(update={"nodes": {NODE: NodeConfig(discover=False)}})

Client = redis.asyncio.Redis


class World:
    """A store with a configuration, and workers in this process, all of node `box`."""

    def __init__(self, url: str, client: Client, keys: Keys, folder: Path) -> None:
        self.url = url
        self.client = client
        self.keys = keys
        self._folder = folder
        self._stops: list[Callable[[], Awaitable[None]]] = []

    def worker(
        self, instance: str = "here-1", assemble: Assemble | None = None, **settings: Any
    ) -> Service:
        async def one_engine(_config: Config, _settings: Settings) -> Sequence[Backend]:
            engine = ScriptedBackend(("echo", "hang"))
            engine.loaded |= {"echo", "hang"}
            return [engine]

        facts = {"node": NODE, "data": self._folder, "instance": instance} | settings
        return self.ending(
            create_app(Settings(redis_url=self.url, **facts), assemble or one_engine)
        )

    def router(self) -> Service:
        return self.ending(create_router(RouterSettings(redis_url=self.url)))

    def ending(self, service: Service) -> Service:
        self._stops.append(service.stop)
        return service

    async def end(self) -> None:
        for stop in reversed(self._stops):
            await stop()

    async def say(self, event: Event, node: str | None = NODE) -> None:
        stream = self.keys.stream(type(event), node)
        await self.client.execute_command("XADD", stream, "*", *envelope(event, "test"))

    async def ask(self, request_id: str, model: str) -> None:
        data = f'{{"model": "{model}", "input": "a b c"}}'
        stream = self.keys.stream(InferenceRequested)
        await self.client.xadd(stream, {"id": request_id, "data": data})

    async def said(self, kind: type[Event], node: str | None = None) -> list[dict[str, Any]]:
        rows: Any = await self.client.xrange(self.keys.stream(kind, node))
        return [from_json(fields[b"data"]) | {"at": at.decode()} for at, fields in rows]

    async def started(self, request_id: str) -> bool:
        return request_id in {each["request_id"] for each in await self.said(InferenceStarted)}

    async def ended(self, request_id: str) -> bool:
        return bool(await self.client.hget(self.keys.request(request_id), "state") == b"final")


@pytest.fixture
async def world(
    session_store: Store, client: Client, keys: Keys, tmp_path: Path
) -> AsyncIterator[World]:
    await store_configuration(client, keys, CONFIG, "test")
    world = World(session_store.url, client, keys, tmp_path)
    yield world
    await world.end()


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[Service]:
    await service.start()
    await until(lambda: service.readiness()["ready"])
    yield service


# --- the name -----------------------------------------------------------------------------------


async def test_a_worker_that_is_refused_leaves_the_name_and_the_commands_to_its_holder(
    world: World,
) -> None:
    await world.client.set(world.keys.node(NODE), "elsewhere-1")
    command = ModelLoadRequested(model="echo", context_tokens=1024, slots=1, reason="demand")
    await world.say(command)
    refused = world.worker()

    with pytest.raises(StartError, match="box already has a worker"):
        await refused.start()
    await refused.stop()

    assert await world.client.get(world.keys.node(NODE)) == b"elsewhere-1"
    assert await world.client.xinfo_groups(world.keys.stream(ModelLoadRequested, NODE)) == []
    assert await world.said(NodeHeartbeat) == []


async def test_a_worker_whose_name_was_taken_says_so_and_gives_up(world: World) -> None:
    async with running(world.worker()) as worker:
        await world.client.set(world.keys.node(NODE), "elsewhere-1")

        await until(worker.given_up.is_set)

        assert "elsewhere-1" in worker.readiness()["checks"]["name"]
    await worker.stop()
    assert await world.client.get(world.keys.node(NODE)) == b"elsewhere-1"


# --- the engines --------------------------------------------------------------------------------


async def test_a_worker_whose_engines_were_not_asked_yet_is_not_ready(world: World) -> None:
    may_answer = asyncio.Event()

    async def late(_config: Config, _settings: Settings) -> Sequence[Backend]:
        await may_answer.wait()
        return [ScriptedBackend()]

    worker = world.worker(assemble=late)
    await worker.start()

    await until(lambda: worker.readiness()["checks"]["store"] == "ok")
    assert not worker.readiness()["ready"]
    assert worker.readiness()["checks"]["engines"] == "not asked yet"

    may_answer.set()
    await until(lambda: worker.readiness()["ready"])


async def test_a_configuration_that_changes_while_engines_are_asked_is_heeded_at_once(
    world: World,
) -> None:
    may_answer = asyncio.Event()
    seen: list[int | None] = []

    async def late(config: Config, _settings: Settings) -> Sequence[Backend]:
        seen.append(config.nodes[NODE].memory_mib)
        await may_answer.wait()
        return [ScriptedBackend()]

    worker = world.worker(assemble=late)
    await worker.start()
    await until(lambda: seen)
    box = NodeConfig(discover=False, memory_mib=7)
    changed = CONFIG.model_copy(update={"nodes": {NODE: box}})
    await store_configuration(world.client, world.keys, changed, "test")
    await until(lambda: worker.bus.config.nodes[NODE].memory_mib == 7)
    may_answer.set()

    await until(lambda: seen == [None, 7])


async def test_an_unload_that_lay_around_is_void_and_a_fresh_one_is_not(world: World) -> None:
    stream = world.keys.stream(ModelUnloadRequested, NODE)
    engine = ScriptedBackend(("echo",))
    engine.loaded.add("echo")

    async def assemble(_config: Config, _settings: Settings) -> Sequence[Backend]:
        return [engine]

    async def acknowledged() -> bool:
        [group] = await world.client.xinfo_groups(stream)
        return bool(group["pending"] == 0 and group["last-delivered-id"] != b"0-0")

    async with running(world.worker(assemble=assemble)):
        seconds, _ = await world.client.time()
        fields = envelope(ModelUnloadRequested(model="echo", reason="idle"), "test")
        await world.client.execute_command("XADD", stream, f"{seconds * 1000 - 60_000}-1", *fields)
        await until(acknowledged)
        assert engine.loaded == {"echo"}

        await world.say(ModelUnloadRequested(model="echo", reason="idle"))
        await until(lambda: not engine.loaded)


# --- what is dispatched -------------------------------------------------------------------------


async def test_what_a_predecessor_had_not_begun_waits_for_the_engines_and_is_run(
    world: World,
) -> None:
    patient = CONFIG.model_copy(update={"timing": Timing(node_lost_s=30.0, flight_lease_s=30.0)})
    await store_configuration(world.client, world.keys, patient, "test")
    may_answer = asyncio.Event()
    stream = world.keys.stream(InferenceDispatched, NODE)

    async def late(_config: Config, _settings: Settings) -> Sequence[Backend]:
        await may_answer.wait()
        engine = ScriptedBackend(("echo",))
        engine.loaded.add("echo")
        return [engine]

    async with running(world.worker("gone-1")) as predecessor, running(world.router()):
        await predecessor.bus.stop()  # it dies
        await world.client.delete(world.keys.node(NODE))
        await world.ask("waits", "echo")
        await until(lambda: world.client.xlen(stream))
        await world.client.xreadgroup("inference-worker", NODE, {stream: ">"})

        await world.worker("here-2", late).start()
        may_answer.set()

        await until(lambda: world.ended("waits"))
    assert await world.said(InferenceAttemptFailed) == []


async def test_entries_that_come_together_are_begun_side_by_side(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(world.worker().bus, NODE)
    together = asyncio.Barrier(2)

    async def begin(_entry: Entry) -> None:
        async with asyncio.timeout(2):
            await together.wait()

    monkeypatch.setattr(worker.executor, "begin", begin)

    await worker.on_dispatched([Entry("stream", f"{number}-1", {}) for number in (1, 2)])


# --- the end ------------------------------------------------------------------------------------


async def test_a_worker_that_stops_says_first_that_it_takes_nothing_more(world: World) -> None:
    async with running(world.router()), running(world.worker()) as worker:
        await world.ask("r1", "hang")
        await until(lambda: world.started("r1"))

        await worker.stop()

    last = (await world.said(NodeHeartbeat))[-1]
    [failed] = await world.said(InferenceAttemptFailed)
    node = Node.heard(NodeHeartbeat.model_validate({k: v for k, v in last.items() if k != "at"}))
    assert {model.name for model in node.inventory.values()} == {"echo", "hang"}
    assert [node.slots(model) for model in ("echo", "hang")] == [0, 0]
    assert _at(last) < _at(failed)
    assert (failed["reason"], failed["charge"]) == ("worker_restarted", 1)
    assert await world.client.get(world.keys.node(NODE)) is None


def _at(entry: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in entry["at"].split("-"))
