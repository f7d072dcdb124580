"""What the tour needs: a store that may be mistreated, offices here and in processes."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from shared.bus.configuration import store_configuration
from shared.bus.keys import Keys
from shared.service import Service
from tests.fakes.processes import Processes
from tests.fundamentals.tour import FAST, Open, Say
from tests.servers import Store


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Shows a measured figure, also of a test that passes."""

    def write(figure: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n    measured: {figure}\n")

    return write


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path)
    yield processes
    processes.end()


@pytest.fixture
async def redis_client(own_store: Store) -> AsyncIterator[redis.asyncio.Redis]:
    patience = Retry(ConstantBackoff(0.1), 100)
    client = redis.asyncio.Redis.from_url(own_store.url, protocol=2, retry=patience)
    yield client
    await client.aclose()


@pytest.fixture
async def configured(redis_client: redis.asyncio.Redis) -> redis.asyncio.Redis:
    """A client of a store that has the fast configuration."""
    await store_configuration(redis_client, Keys(), FAST, "tour")
    return redis_client


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Starts a service in this process, and stops it at the end."""
    services: list[Service] = []

    async def start(service: Service) -> Service:
        services.append(service)
        await service.start()
        return service

    yield start
    for service in services:
        await service.stop()


@pytest.fixture
def settings(own_store: Store, tmp_path: Path) -> dict[str, Any]:
    """What a service in this process is told by its environment."""
    return {"redis_url": own_store.url, "data": tmp_path}
