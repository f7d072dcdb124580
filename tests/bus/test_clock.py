"""The store's clock as others follow it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio

from shared.bus.clock import StoreClock
from shared.bus.writer import Writer
from tests.fakes.clock import Clock
from tests.servers import Store
from tests.waiting import until

STEP_MS = 300_000


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    clock = Clock(tmp_path)
    if not clock.can_jump:
        pytest.skip("there is no C compiler")
    return clock


@pytest.fixture
async def writer(tmp_path: Path, clock: Clock) -> AsyncIterator[Writer]:
    store = Store(tmp_path / "store", environment=clock.environment).start()
    client = redis.asyncio.Redis.from_url(store.url, protocol=2)
    yield Writer(client)
    await client.aclose()
    store.stop()


async def test_a_step_back_is_told_apart_from_a_step_forward(writer: Writer, clock: Clock) -> None:
    followed = StoreClock(writer)
    before_ms = await followed.look()
    assert followed.set_back_ms == 0

    async def earlier() -> bool:
        return await followed.look() < before_ms

    async def later() -> bool:
        return await followed.look() >= before_ms

    clock.jump(-STEP_MS / 1000)
    await until(earlier)  # the store reads its clock once for several commands
    assert STEP_MS - 1000 < followed.set_back_ms <= STEP_MS

    clock.jump(STEP_MS / 1000)
    await until(later)
    assert followed.set_back_ms == 0
    assert await followed.look() == pytest.approx(followed.now_ms(), abs=100)
