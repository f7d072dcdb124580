"""An empty trail, a store of its own, and the audit-logger between them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from services.audit_logger.app import create_app
from services.audit_logger.database import Database
from services.audit_logger.settings import Settings
from shared.bus.configuration import store_configuration
from shared.bus.keys import Keys
from shared.service import Service
from tests.databases import Postgres
from tests.fundamentals.tour import FAST
from tests.servers import Store

Start = Callable[[], Awaitable[Service]]


@pytest.fixture(scope="session")
def session_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    postgres = Postgres(tmp_path_factory.mktemp("postgres") / "server").start()
    yield postgres
    postgres.remove()


@pytest.fixture
def postgres(session_postgres: Postgres) -> Postgres:
    """An empty database on a server that the test leaves as it is."""
    session_postgres.empty()
    return session_postgres


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A server of the test's own, which it may mistreat."""
    postgres = Postgres(tmp_path / "postgres").start()
    yield postgres
    postgres.remove()


@pytest.fixture
async def database(postgres: Postgres) -> AsyncIterator[Database]:
    database = Database(postgres.url)
    yield database
    await database.close()


@pytest.fixture
async def configured(own_store: Store) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of a store that has the fast configuration."""
    patience = Retry(ConstantBackoff(0.1), 100)
    client = redis.asyncio.Redis.from_url(own_store.url, protocol=2, retry=patience)
    await store_configuration(client, Keys(), FAST, "test")
    yield client
    await client.aclose()


@pytest.fixture
async def start(own_store: Store, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts an audit-logger in this process, and stops it at the end."""
    services: list[Service] = []

    async def logger(database_url: str, **settings: Any) -> Service:
        service = create_app(
            Settings(redis_url=own_store.url, database_url=database_url, data=tmp_path, **settings)
        )
        services.append(service)
        await service.start()
        return service

    yield logger
    for service in services:
        await service.stop()
