"""A request with everybody who touches it, on each kind of store."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from shared.bus.keys import Keys
from shared.bus.writer import Writer
from tests.bus.scene import Scene


@pytest.fixture
async def scene(client: Redis, keys: Keys) -> AsyncIterator[Scene]:
    async with Scene(client, keys) as scene:
        yield scene


@pytest.fixture
async def writer(client: Redis) -> AsyncIterator[Writer]:
    writer = Writer(client)
    yield writer
    await writer.close()
