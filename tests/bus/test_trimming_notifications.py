"""Notifications are kept until they are delivered or it is too late; then for redelivery."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from shared.bus.configuration import endpoints_since, former_endpoints, store_configuration
from shared.bus.keys import Keys
from shared.bus.notifications import NOTIFIER
from shared.bus.tail import redis_now_ms
from shared.bus.trimming import Reader, order, queue_floor, trim
from shared.config import Config, EndpointConfig
from shared.events.inference import InferenceCompleted
from shared.events.notifications import NotificationQueued
from shared.events.operations import AlertRaised
from tests.bus.stored import read

HOUR_MS = 3600 * 1000
NOW_MS = 200 * HOUR_MS
N8N = EndpointConfig(url="https://example.org", secret_env="S")
WITH_N8N = Config(endpoints={"n8n": N8N})


def reader(needs_ms: int) -> Reader:
    return Reader(NOTIFIER, f"{needs_ms}-0", core=False)


@pytest.mark.parametrize(
    ("needs_h", "crowded", "kept_from_h"),
    [
        (0, False, 24),  # all delivered: for a day
        (10, False, 24),
        (30, False, 30),  # undelivered: for as long as it is tried
        (95, False, 95),
        (120, False, 96),
        (0, True, 0),  # crowded: nothing that was delivered
        (1, True, 1 / 6),  # and of the rest ten minutes
    ],
)
def test_the_first_notification_that_is_kept(
    needs_h: float, crowded: bool, kept_from_h: float
) -> None:
    readers = [reader(NOW_MS - int(needs_h * HOUR_MS))]

    cut = queue_floor(readers, NOW_MS, crowded=crowded)

    assert order(cut)[0] == NOW_MS - int(kept_from_h * HOUR_MS)


def test_what_no_notifier_has_read_is_undelivered() -> None:
    assert order(queue_floor([], NOW_MS, crowded=False))[0] == NOW_MS - 96 * HOUR_MS


@given(st.integers(0, NOW_MS), st.booleans())
def test_nothing_undelivered_goes_before_its_time(needs_ms: int, crowded: bool) -> None:
    cut = order(queue_floor([reader(needs_ms)], NOW_MS, crowded=crowded))
    patience_ms = HOUR_MS // 6 if crowded else 96 * HOUR_MS

    assert cut <= max((needs_ms, 0), (NOW_MS - patience_ms, 0))


async def entries(client: Redis, stream: str, *ages_h: float) -> list[str]:
    now_ms = await redis_now_ms(client)
    fields: dict[Any, Any] = {"data": "{}"}
    ids = [f"{now_ms - int(age_h * HOUR_MS)}-0" for age_h in ages_h]
    for entry_id in ids:
        await client.xadd(stream, fields, id=entry_id)
    return ids


async def test_the_streams_of_endpoints_are_trimmed_also_of_those_that_are_gone(
    client: Redis, keys: Keys
) -> None:
    await store_configuration(client, keys, WITH_N8N, "test")
    await store_configuration(client, keys, Config(), "test")
    stream = keys.stream(NotificationQueued, "n8n")
    ids = await entries(client, stream, 100, 90, 1)
    await client.xgroup_create(stream, NOTIFIER, id="0")

    await trim(client, keys)

    stored, _ = await read(client, keys)
    assert [*stored.stream(NotificationQueued, "n8n").entries] == ids[1:]
    [alert] = stored.events(AlertRaised)
    assert f"follower_cut:{stream}:{NOTIFIER}" in alert["data"]


@pytest.mark.parametrize("config", [WITH_N8N, Config()], ids=["one endpoint", "none any more"])
async def test_a_notifier_holds_events_back_only_while_somebody_wants_to_hear_of_them(
    client: Redis, keys: Keys, config: Config
) -> None:
    await store_configuration(client, keys, WITH_N8N, "test")
    await store_configuration(client, keys, config, "test")
    stream = keys.stream(InferenceCompleted)
    await entries(client, stream, 2, 1.5)
    await client.xgroup_create(stream, NOTIFIER, id="0")
    await client.xgroup_create(stream, "router", id="$")

    await trim(client, keys)

    stored, _ = await read(client, keys)
    kept = len(stored.stream(InferenceCompleted).entries)
    assert kept == (2 if config.endpoints else 0)
    assert stored.events(AlertRaised) == []


async def test_it_is_known_since_when_an_endpoint_is_configured(client: Redis, keys: Keys) -> None:
    await store_configuration(client, keys, Config(), "test")
    before_ms = await redis_now_ms(client)
    await store_configuration(client, keys, WITH_N8N, "test")
    first = await endpoints_since(client, keys)
    other = N8N.model_copy(update={"timeout_s": 3.0})
    await store_configuration(client, keys, Config(endpoints={"n8n": other}), "test")
    changed = await endpoints_since(client, keys)
    await store_configuration(client, keys, Config(), "test")
    gone, was_there = await endpoints_since(client, keys), await former_endpoints(client, keys)
    assert not await client.exists(keys.endpoints), "by which `up` sees that nobody listens"
    await store_configuration(client, keys, WITH_N8N, "test")
    back = await endpoints_since(client, keys)

    assert before_ms <= first["n8n"] <= back["n8n"]
    assert changed == first
    assert gone == {}
    assert was_there == {"n8n"}
    assert await former_endpoints(client, keys) == set()


async def test_before_the_first_configuration_of_a_store_nothing_was(
    client: Redis, keys: Keys
) -> None:
    await store_configuration(client, keys, WITH_N8N, "test")

    assert await endpoints_since(client, keys) == {"n8n": 0}
