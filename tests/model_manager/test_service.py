"""The service on a real store, beside a stand-in for one node and for the router."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from services.model_manager.app import create_app
from services.model_manager.settings import Settings
from shared.bus.configuration import store_configuration
from shared.bus.envelope import envelope
from shared.bus.keys import Keys
from shared.config import Config
from shared.events.base import Event, Priority
from shared.events.models import (
    ModelActionRequested,
    ModelDemand,
    ModelDemandChanged,
    ModelLoadRequested,
    ModelState,
    ModelUnloadRequested,
    ResidentModel,
)
from shared.service import Service
from tests.fakes.stalls import beat, device, local, resident, sample
from tests.servers import Store
from tests.waiting import until

EVERY_S = 0.05


class Box:
    """A node that holds what its commands say, and says so, and what is wanted, all the time."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self.runs = True
        self.residents: dict[str, ResidentModel] = {}
        self.demands: tuple[ModelDemand, ...] = ()
        self.commands: list[Event] = []
        self._read = {ModelLoadRequested: 0, ModelUnloadRequested: 0}

    async def run(self) -> None:
        while self.runs:
            await self._obey()
            residents = self.residents.values()
            await self.say(
                beat([local("a", 4_000), local("b", 6_000), local("c", 1_000)], residents)
            )
            await self.say(sample(device(9_024)))
            await self.say(ModelDemandChanged(router="1:r", demands=self.demands))
            await asyncio.sleep(EVERY_S)

    async def say(self, event: Event) -> None:
        key = self._keys.stream(type(event))
        await self._client.execute_command("XADD", key, "*", *envelope(event, "test"))

    def wants(self, model: str) -> None:
        demand = ModelDemand(model=model, waiting={Priority.HIGH: 1}, oldest_wait_s=0)
        self.demands = (demand,)

    async def _obey(self) -> None:
        for kind, read in self._read.items():
            rows = await self._client.xrange(self._keys.stream(kind, "box"))
            self._read[kind] = len(rows)
            for _, fields in rows[read:]:
                command = kind.model_validate_json(fields[b"data"])
                self.commands.append(command)
                self._take(command)

    def _take(self, command: Event) -> None:
        if isinstance(command, ModelLoadRequested):
            self.residents[command.model] = resident(command.model, ModelState.READY)
        elif isinstance(command, ModelUnloadRequested):
            self.residents.pop(command.model, None)


@pytest.fixture
async def box(client: redis.asyncio.Redis, keys: Keys) -> AsyncIterator[Box]:
    box = Box(client, keys)
    running = asyncio.create_task(box.run())
    yield box
    box.runs = False
    await running


@pytest.fixture
async def service(
    session_store: Store, client: redis.asyncio.Redis, keys: Keys
) -> AsyncIterator[Service]:
    await store_configuration(client, keys, Config(), "test")
    service = create_app(Settings(redis_url=session_store.url, instance="first"))
    await service.start()
    yield service
    await service.stop()


async def leads(service: Service) -> None:
    await until(lambda: service.readiness()["ready"] and service.role() == "active")


async def test_what_waits_is_loaded_and_told_how(service: Service, box: Box) -> None:
    await leads(service)
    box.wants("a")

    await until(lambda: box.commands)

    assert box.commands == [
        ModelLoadRequested(model="a", context_tokens=8192, slots=2, reason="demand")
    ]


async def test_an_operator_loads_and_unloads(service: Service, box: Box) -> None:
    await box.say(ModelActionRequested(model="b", action="load"))
    await until(lambda: "b" in box.residents)

    await box.say(ModelActionRequested(model="b", action="unload", node="box"))
    await until(lambda: "b" not in box.residents)

    assert [command.reason for command in box.commands] == ["asked", "asked"]  # type: ignore[attr-defined]


async def test_an_action_that_makes_no_sense_is_kept_as_a_dead_letter(
    service: Service, box: Box, client: redis.asyncio.Redis, keys: Keys
) -> None:
    await client.xadd(keys.stream(ModelActionRequested), {"data": '{"action": "explode"}'})

    async def dead_letters() -> int:
        return int(await client.xlen(keys.stream_of("dead_letter.v1")))

    assert await until(dead_letters) == 1
    await box.say(ModelActionRequested(model="a", action="load"))
    await until(lambda: "a" in box.residents)


async def test_room_is_made_before_a_model_is_loaded(service: Service, box: Box) -> None:
    box.residents["a"] = resident("a", ModelState.READY, idle_s=500.0)
    await leads(service)
    box.wants("b")

    await until(lambda: len(box.commands) == 2)

    assert [command.model for command in box.commands] == ["a", "b"]  # type: ignore[attr-defined]


async def test_a_standby_commands_nothing_and_takes_over(
    session_store: Store, service: Service, box: Box
) -> None:
    await leads(service)
    standby = create_app(Settings(redis_url=session_store.url, instance="second"))
    await standby.start()
    await until(lambda: standby.readiness()["ready"])
    assert standby.role() == "standby"
    box.wants("a")
    await until(lambda: box.commands)

    await service.stop()
    await leads(standby)
    await box.say(ModelActionRequested(model="c", action="load"))
    await until(lambda: "c" in box.residents)

    await standby.stop()
    assert [command.model for command in box.commands] == ["a", "c"]  # type: ignore[attr-defined]


async def test_an_action_taken_while_nobody_led_is_carried_out_by_the_next_leader(
    session_store: Store, client: redis.asyncio.Redis, keys: Keys, box: Box
) -> None:
    await store_configuration(client, keys, Config(), "test")
    await box.say(ModelActionRequested(model="a", action="load"))
    service = create_app(Settings(redis_url=session_store.url))
    await service.start()

    await until(lambda: "a" in box.residents)

    await service.stop()
