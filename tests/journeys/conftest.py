"""A stage for journeys: a store, a configuration with short times, and processes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from shared.bus.configuration import store_configuration
from shared.bus.keys import Keys
from shared.config import Config, TaskConfig
from shared.events.inference import InferenceStarted
from tests.fakes.asking import Asker, asking
from tests.fakes.processes import (
    Child,
    Processes,
    audit_logger,
    gateway,
    manager,
    real_worker,
)
from tests.fundamentals.tour import FAST
from tests.journeys import checker
from tests.journeys.moods import moody
from tests.servers import Store
from tests.waiting import until

CONFIG = FAST.model_copy(
    update={
        "attempts": FAST.attempts.model_copy(
            update={"first_token_s": 1.0, "between_tokens_s": 1.0, "total_s": 4.0}
        ),
        "tasks": {
            **Config().tasks,
            "crashing": TaskConfig(chain=("crash", "echo")),
            "hanging": TaskConfig(chain=("hang", "echo")),
            "stalling": TaskConfig(chain=("stall", "echo")),
            "endless": TaskConfig(chain=("slow", "echo")),
            "buggy": TaskConfig(chain=("bug", "echo")),
        },
    }
)


@dataclass
class Stage:
    store: Store
    client: redis.asyncio.Redis
    processes: Processes
    asker: Asker

    async def router(self) -> Child:
        return await self._ready(self.processes.router(self.store.url))

    async def worker(self, node: str, *models: str, **settings: Any) -> Child:
        names = models or ("echo", "slow", "crash", "hang")
        return await self._ready(self.processes.worker(self.store.url, node, *names, **settings))

    async def moody_worker(self, node: str, *models: str) -> Child:
        """See `moods`."""
        child = self.processes.start(moody, self.store.url, node=node, models=models)
        return await self._ready(child)

    async def real_worker(self, node: str, **settings: Any) -> Child:
        """With a real engine, and the model-manager that has it load what is asked for."""
        start = self.processes.start
        await self._ready(start(manager, self.store.url))
        return await self._ready(start(real_worker, self.store.url, node=node, **settings))

    async def gateway(self) -> str:
        """Its address."""
        child = await self._ready(self.processes.start(gateway, self.store.url))
        return f"http://127.0.0.1:{child.port}"

    async def audit_logger(self, database_url: str) -> Child:
        start = self.processes.start
        return await self._ready(start(audit_logger, self.store.url, database_url=database_url))

    async def stories(self) -> dict[str, checker.Story]:
        return await checker.stories(self.client)

    async def running(self, count: int, node: str = "") -> None:
        """Wait until so many attempts have started, there or anywhere."""

        async def started() -> bool:
            entries = await checker.said(self.client, checker.KEYS.stream(InferenceStarted))
            return sum(node in ("", entry["data"]["node"]) for entry in entries) >= count

        await until(started, timeout_s=15)

    async def settled(self) -> None:
        """Once no attempt holds a slot any more, every promise must have been kept."""

        async def nothing_flies() -> bool:
            return await self.client.zcard(checker.KEYS.flight) == 0

        await until(nothing_flies, timeout_s=15)
        await checker.everything_ended_once(self.client, self.asker.asked)

    async def _ready(self, child: Child) -> Child:
        async def is_ready() -> bool:
            answer = await child.ready()
            return answer is not None and answer["status"] == 200

        await until(is_ready, timeout_s=15)
        return child


@pytest.fixture
async def stage(own_store: Store, tmp_path: Path) -> AsyncIterator[Stage]:
    patience = Retry(ConstantBackoff(0.1), 100)
    client = redis.asyncio.Redis.from_url(own_store.url, protocol=2, retry=patience)
    await store_configuration(client, Keys(), CONFIG, "test")
    processes = Processes(tmp_path)
    try:
        async with asking(own_store.url) as asker:
            yield Stage(own_store, client, processes, asker)
    finally:
        processes.end()
        await client.aclose()
