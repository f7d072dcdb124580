"""What a fault does to what it strikes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio

from tests.chaos.faults import put_off_nothing
from tests.fakes.preload import preloaded
from tests.servers import Store
from tests.waiting import until

LATE_SYNC = Path(__file__).parents[1] / "fakes" / "late_sync.c"


@pytest.fixture
def late_store(tmp_path: Path) -> Iterator[Store]:
    """A store whose syncs come two seconds late."""
    environment = preloaded(LATE_SYNC, tmp_path)
    if not environment:
        pytest.skip("there is no C compiler")
    store = Store(tmp_path / "store", environment=environment).start()
    yield store
    store.stop()


async def test_a_store_that_is_killed_has_what_it_acknowledged_though_it_held_writes_back(
    late_store: Store,
) -> None:
    async with redis.asyncio.Redis.from_url(late_store.url, protocol=2) as before:

        async def holds_back() -> bool:
            await before.xadd("said", {"data": "-"})
            return bool((await before.info("persistence"))["aof_buffer_length"])

        await until(holds_back)
        acknowledged = await before.xlen("said")

    await put_off_nothing(late_store)
    late_store.kill()
    late_store.start()

    async with redis.asyncio.Redis.from_url(late_store.url, protocol=2) as after:
        assert await after.xlen("said") == acknowledged
