"""While it trims, the router measures how long streams are and how far their groups are behind."""

from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from shared.bus.keys import Keys
from shared.bus.tail import redis_now_ms
from shared.bus.trimming import trim
from shared.events.inference import InferenceCompleted
from shared.events.operations import DeadLetter

HOUR_MS = 3600 * 1000


def behind_s(stream: str, group: str) -> float | None:
    labels = {"stream": stream, "group": group}
    return REGISTRY.get_sample_value("roundhouse_group_behind_seconds", labels)


def length(stream: str) -> float | None:
    return REGISTRY.get_sample_value("roundhouse_stream_entries", {"stream": stream})


@pytest.mark.parametrize(
    ("group", "delivered", "settled", "hours"),
    [
        pytest.param("router", 3, 3, 0, id="settled all"),
        pytest.param("audit-logger", 3, 1, 2, id="holds the second and third"),
        pytest.param("graph-store", 2, 2, 1, id="has not read the third"),
        pytest.param("n8n", 0, 0, 3, id="has read nothing"),
    ],
)
async def test_a_group_is_behind_by_the_age_of_what_it_has_not_settled(
    client: Redis, keys: Keys, group: str, delivered: int, settled: int, hours: int
) -> None:
    stream, now_ms = keys.stream(InferenceCompleted), await redis_now_ms(client)
    for age_h in (3, 2, 1):
        await client.xadd(stream, {"data": "{}"}, id=f"{now_ms - age_h * HOUR_MS}-0")
    await client.xgroup_create(stream, group, id="0")
    if delivered:
        reply: Any = await client.xreadgroup(group, "c", {stream: ">"}, count=delivered)
        await client.xack(stream, group, *[row[0] for row in reply[0][1][:settled]])

    await trim(client, keys)

    assert behind_s(stream, group) == pytest.approx(hours * 3600, abs=60)


async def test_dead_letters_are_counted_from_none_on(client: Redis, keys: Keys) -> None:
    letters = keys.stream(DeadLetter)
    await trim(client, keys)
    before = length(letters)

    await client.xadd(letters, {"data": "{}"})
    await trim(client, keys)

    assert (before, length(letters)) == (0, 1)
