"""The cell that is put under fire: a store, and every service as a process of its own."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from shared.bus.configuration import store_configuration
from shared.bus.keys import Keys
from shared.config import Config, EngineConfig, ModelConfig, NodeConfig, TaskConfig, Timing
from shared.config.models import AttemptLimits
from shared.service import Service
from tests.chaos import engine
from tests.chaos.engine import Execution
from tests.chaos.plan import AUDITOR, NODES, PROXIED, REAL, REAL_NODES
from tests.databases import Postgres
from tests.fakes.clock import Clock
from tests.fakes.processes import (
    Child,
    Processes,
    audit_logger,
    gateway,
    manager,
    real_worker,
    router,
)
from tests.fakes.proxy import LossyProxy, lossy_proxy
from tests.servers import Store, free_port, on_a_fast_disk
from tests.waiting import until

KEYS = Keys()
READY_S = 60.0

TIMING = Timing(
    heartbeat_s=0.4,
    node_lost_s=2.0,
    flight_lease_s=2.0,
    flight_beat_s=0.5,
    router_lease_s=1.2,
    router_renew_s=0.25,
    claim_idle_s=1.5,
    claim_beat_s=0.4,
)
"""As in production, only three to ten times as fast."""

ATTEMPTS = AttemptLimits(total_s=8.0, first_token_s=2.0, between_tokens_s=2.0, connect_s=1.0)

SLOTS = {"echo": 8, "slow": 6, "steady": 1}


@dataclass
class Member:
    """A process of the cell. It suffers one fault at a time."""

    name: str
    begin: Callable[[], Child]
    child: Child = field(init=False)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    deaths: int = 0
    """How often it ended without being told to."""

    def start(self) -> None:
        self.child = self.begin()

    def is_dead(self) -> bool:
        return self.child.process.exitcode is not None


class Cell:
    """`start` it, hurt its `members`, its `store`, its `clock` and its `networks`."""

    def __init__(self, folder: Path, seed: int, **changes: Any) -> None:
        """`changes` to the configuration."""
        self._changes = changes
        self.folder = folder
        self.seed = seed
        self.clock = Clock(folder)
        self._files = on_a_fast_disk("chaos-")
        self.store = Store(
            Path(self._files.name), port=free_port(), environment=self.clock.environment
        )
        self.postgres = Postgres(folder / "postgres", port=free_port())
        self.networks: dict[str, LossyProxy] = {}
        self.members: dict[str, Member] = {}
        self.store_turn = asyncio.Lock()
        self.postgres_turn = asyncio.Lock()
        self._processes = Processes(folder)
        self._stack = AsyncExitStack()
        self._guard: asyncio.Task[None] | None = None
        self._engine_ports = {node: free_port() for node in NODES}

    async def __aenter__(self) -> "Cell":
        self._stack.callback(self._files.cleanup)
        self._stack.callback(self.store.stop)
        self._stack.callback(self.postgres.remove)
        self._stack.callback(self._processes.end)
        try:
            await self._begin()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._guard is not None:
            self._guard.cancel()
        await self._stack.aclose()

    def url(self, name: str) -> str:
        """Of the store, as this member reaches it."""
        network = self.networks.get(name)
        return network.url if network else self.store.url

    def gateway_url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.members[f'gateway-{number + 1}'].child.port}"

    def client(self) -> redis.asyncio.Redis:
        """One that waits for a store that is away."""
        patience = Retry(ConstantBackoff(0.05), 600)
        return redis.asyncio.Redis.from_url(self.store.url, protocol=2, retry=patience)

    def trace(self) -> list[Execution]:
        """What the scripted engines executed."""
        return [
            each
            for node in NODES
            for each in engine.executions(node, self._trace_of(node).read_text())
        ]

    async def _begin(self) -> None:
        await asyncio.to_thread(self.store.start)
        await asyncio.to_thread(self.postgres.start)
        for name in PROXIED:
            network = lossy_proxy(self.store.port, 0.0, self.seed)
            self.networks[name] = await self._stack.enter_async_context(network)
        await self._write_tiny_model()
        self._cast()
        async with self.client() as client:
            await store_configuration(client, KEYS, self._config(), "chaos")
        for member in self.members.values():
            member.start()
        await self.ready()
        self._guard = asyncio.create_task(self._restart_what_dies())

    async def ready(self) -> None:
        """Wait until every service says that it works."""

        async def unready() -> list[str]:
            return [each.name for each in self.members.values() if not await _is_ready(each)]

        async def all_ready() -> bool:
            return not await unready()

        try:
            await until(all_ready, READY_S, every_s=0.2)
        except AssertionError:
            raise AssertionError(f"not ready within {READY_S} s: {await unready()}") from None

    def _cast(self) -> None:
        for node in NODES:
            trace, port = self._trace_of(node), self._engine_ports[node]
            self._serve(f"engine-{node}", trace=trace, port=port)
        for number in (1, 2):
            self._service(f"router-{number}", router)
            self._service(f"manager-{number}", manager)
            self._service(f"gateway-{number}", gateway, port=free_port())
        self._service(AUDITOR, audit_logger, database_url=self.postgres.url)
        for node in NODES:
            self._service(node, real_worker, node=node, data=self.folder / node)

    def _trace_of(self, node: str) -> Path:
        return self.folder / f"engine-{node}.trace"

    def _service(self, name: str, create: Callable[..., Service], **settings: Any) -> None:
        url = self.url(name)
        member = Member(name, lambda: self._processes.start(create, url, **settings))
        self.members[name] = member

    def _serve(self, name: str, **options: Any) -> None:
        member = Member(name, lambda: self._processes.serve(engine.serve, **options))
        self.members[name] = member

    def _config(self) -> Config:
        nodes = {
            node: NodeConfig(
                memory_mib=200 if node in REAL_NODES else 1,
                discover=False,
                engines=(EngineConfig(kind="openai", url=f"http://127.0.0.1:{port}"),),
            )
            for node, port in self._engine_ports.items()
        }
        models = {
            name: ModelConfig(engine="openai", slots=SLOTS.get(name, 4)) for name in engine.MODELS
        }
        models[REAL] = ModelConfig(
            engine="llama_cpp",
            path=str(self.folder / "tiny.gguf"),
            context_tokens=1024,
            need_mib=100,
            idle_unload_s=8.0,
        )
        base: dict[str, Any] = {"timing": TIMING, "attempts": ATTEMPTS, "tasks": _tasks()}
        return Config(nodes=nodes, models=models, **(base | self._changes))

    async def _write_tiny_model(self) -> None:
        module = "services.inference_worker.tiny_model"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, str(self.folder / "tiny.gguf")
        )
        assert await process.wait() == 0

    async def _restart_what_dies(self) -> None:
        """As a supervisor does; nothing should."""
        while True:
            for member in self.members.values():
                if not member.turn.locked() and member.is_dead():
                    member.deaths += 1
                    member.start()
            await asyncio.sleep(0.5)


def _tasks() -> dict[str, TaskConfig]:
    first = {
        "crashing": "crash",
        "hanging": "hang",
        "stalling": "stall",
        "failing": "fail",
        "dropping": "drop",
        "doubtful": "doubtful",
        "chat": "slow",
    }
    chains = {task: TaskConfig(chain=(model, "echo")) for task, model in first.items()}
    return {**chains, "rules": TaskConfig(chain=("heuristic:tickets",))}


async def _is_ready(member: Member) -> bool:
    if member.name.startswith("engine-"):
        return True
    answer = await member.child.ready()
    return answer is not None and answer["status"] == 200
