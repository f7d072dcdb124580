"""A whole plane for tests of the command: a store, and services with a scripted engine.

Nothing of it is the command's own: `up` has tests of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from services.inference_worker.app import create_app as create_worker
from services.inference_worker.backends.heuristic import Heuristic
from services.inference_worker.backends.port import Backend, Profile
from services.inference_worker.settings import Settings as WorkerSettings
from shared.bus.configuration import store_configuration
from shared.bus.history import living_nodes
from shared.bus.keys import Keys
from shared.config import Config, ModelConfig, NodeConfig, TaskConfig, Timing
from shared.events.models import LocalModel
from shared.service import Service
from tests.fakes.backend import ScriptedBackend
from tests.fakes.processes import Child, Processes, manager, router
from tests.servers import Store
from tests.waiting import until

LOAD_S = 0.6
MEMORY_MIB = 1000
MODELS = ("echo", "slow", "hang", "crash", "heavy", "light", "unloadable", "giant")
SLOTS = 4
READY = ("echo", "slow", "hang", "crash")

CONFIG = Config(
    tasks={
        **{name: TaskConfig(chain=("echo",)) for name in ("chat", "assess", "report", "summarise")},
        "classify": TaskConfig(chain=("heuristic:tickets",)),
        "risky": TaskConfig(chain=("crash", "heavy")),
        "hopeful": TaskConfig(chain=("giant", "heuristic:tickets")),
    },
    models={"mislaid": ModelConfig(engine="llama_cpp", path="/models/mislaid.gguf")},
    nodes={"local": NodeConfig(memory_mib=MEMORY_MIB, discover=False)},
    timing=Timing(
        heartbeat_s=0.5,
        node_lost_s=3,
        flight_lease_s=3,
        flight_beat_s=0.5,
        router_lease_s=1,
        router_renew_s=0.2,
    ),
)


class Engine(ScriptedBackend):
    """`heavy` takes a while to load, `giant` never fits, and `mislaid` is not there."""

    def left_out(self) -> Mapping[str, str]:
        return {"mislaid": "/models/mislaid.gguf cannot be read: no such file"}

    async def models(self) -> list[LocalModel]:
        offered = await super().models()
        return [
            local.model_copy(update={"need_mib": 100 * MEMORY_MIB})
            if local.name == "giant"
            else local
            for local in offered
        ]

    async def load(self, profile: Profile) -> int | None:
        if profile.model == "heavy":
            await asyncio.sleep(LOAD_S)
        return await super().load(profile)


def worker(**settings: object) -> Service:
    engine = Engine(MODELS, SLOTS)
    engine.loaded.update(READY)

    async def assemble(config: Config, settings: WorkerSettings) -> list[Backend]:
        return [Heuristic(config.heuristics), engine]

    return create_worker(WorkerSettings(**settings), assemble)  # type: ignore[arg-type]


@dataclass
class Plane:
    """`folder` holds the store's files and the services' logs."""

    folder: Path
    store: Store = field(init=False)
    processes: Processes = field(init=False)
    router: Child = field(init=False)
    manager: Child = field(init=False)
    worker: Child = field(init=False)

    def start(self) -> "Plane":
        self.store = Store(self.folder / "store").start()
        self.processes = Processes(self.folder)
        self._apply(CONFIG)
        self.router = self.processes.start(router, self.store.url)
        self.manager = self.processes.start(manager, self.store.url)
        self.worker = self.processes.start(worker, self.store.url, node="local")
        asyncio.run(self._with_client(self._ready))
        return self

    def stop(self) -> None:
        self.processes.end()
        self.store.stop()

    @property
    def url(self) -> str:
        return self.store.url

    @contextmanager
    def configured(self, config: Config) -> Iterator[None]:
        """Another configuration for a while; services take it over within two seconds."""
        self._apply(config)
        try:
            yield
        finally:
            self._apply(CONFIG)

    def _apply(self, config: Config) -> None:
        async def store(client: Any) -> None:
            await store_configuration(client, Keys(), config, "tests")

        with ThreadPoolExecutor() as beside:  # the caller may have a loop of its own
            beside.submit(asyncio.run, self._with_client(store)).result()

    async def _with_client(self, step: Callable[[Any], Awaitable[None]]) -> None:
        client = redis.asyncio.Redis.from_url(self.store.url, protocol=2)
        try:
            await step(client)
        finally:
            await client.aclose()

    async def _ready(self, client: Any) -> None:
        """Both leaders lead, and the node says what it holds."""

        async def serves() -> bool:
            leaders = [Keys().lease(name) for name in ("router", "model-manager")]
            beats = await living_nodes(client, Keys(), CONFIG.timing.node_lost_s)
            held = {model.name for beat in beats for model in beat.resident}
            return held >= {*READY} and await client.exists(*leaders) == len(leaders)

        await until(serves, 20.0)
