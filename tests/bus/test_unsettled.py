"""How much of the store a group holds back."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from shared.bus.keys import Keys
from shared.bus.unsettled import unsettled_share
from shared.events.inference import InferenceCompleted

STREAM = Keys().stream(InferenceCompleted)
GROUP = "audit-logger"


@pytest.fixture
async def full(client: Redis) -> AsyncIterator[Redis]:
    """A hundred entries, which take half of what the store may hold."""
    for _ in range(100):
        await client.xadd(STREAM, {"data": "x" * 50_000})
    await client.config_set("maxmemory", 2 * (await client.memory_usage(STREAM) or 0))
    yield client
    await client.config_set("maxmemory", 0)


@pytest.mark.parametrize(
    ("delivered", "settled", "share"),
    [
        pytest.param(0, 0, 0.5, id="nothing read"),
        pytest.param(100, 0, 0.5, id="all read, nothing settled"),
        pytest.param(60, 50, 0.25, id="half of it settled"),
        pytest.param(100, 100, 0.0, id="all settled"),
    ],
)
async def test_what_is_not_settled_counts_whether_or_not_it_was_read(
    full: Redis, delivered: int, settled: int, share: float
) -> None:
    await full.xgroup_create(STREAM, GROUP, id="0")
    entries = [entry for entry, _ in await full.xrange(STREAM)]
    if delivered:
        await full.xreadgroup(GROUP, "one", {STREAM: ">"}, count=delivered)
    if settled:
        await full.xack(STREAM, GROUP, *entries[:settled])

    assert await unsettled_share(full, GROUP, [STREAM]) == pytest.approx(share, abs=0.05)


async def test_a_stream_without_the_group_or_without_anything_holds_nothing(full: Redis) -> None:
    await full.xgroup_create(STREAM, "other", id="0")

    assert await unsettled_share(full, GROUP, [STREAM, "nothing"]) == 0
