"""A notifier with a store of its own, beside receivers that do as they are told."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio

from tests.fakes.receiver import Receiver, receiving
from tests.notifier.desk import SECRET, Desk
from tests.servers import Store


@pytest.fixture
async def desk(
    own_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    monkeypatch.setenv("TEST_SECRET", SECRET)
    client = redis.asyncio.Redis.from_url(own_store.url, protocol=2)
    desk = Desk(client, own_store.url, tmp_path)
    yield desk
    for service in desk.services:
        await service.stop()
    await client.aclose()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver
