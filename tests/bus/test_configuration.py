"""The configuration in force: stored with a version, announced, and picked up by watchers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic_core import from_json
from redis.asyncio import Redis

from shared.bus.configuration import (
    ConfigurationWatch,
    apply_configuration,
    configuration_version,
    store_configuration,
    stored_configuration,
)
from shared.bus.keys import Keys
from shared.config import Config, ConfigError, Timing
from shared.events.operations import ConfigChanged
from tests.bus.stored import read
from tests.servers import Store
from tests.waiting import until

QUICK = Config(timing=Timing(heartbeat_s=0.25))


@pytest.fixture
async def watch(
    client: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ConfigurationWatch]:
    monkeypatch.setattr("shared.bus.configuration.POLL_S", 0.05)
    watch = ConfigurationWatch(client, keys)
    running = asyncio.create_task(watch.run())
    yield watch
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_new_configuration_gets_the_next_version_and_is_announced(
    client: Redis, keys: Keys
) -> None:
    versions = [
        await store_configuration(client, keys, config, "cli")
        for config in (Config(), QUICK, Config())
    ]

    stored, _ = await read(client, keys)
    events = stored.events(ConfigChanged)
    assert versions == [1, 2, 3]
    assert [from_json(event["data"])["version"] for event in events] == versions
    assert len({event["id"] for event in events}) == 3
    assert await stored_configuration(client, keys) == Config()


async def test_an_unchanged_configuration_keeps_its_version(client: Redis, keys: Keys) -> None:
    await store_configuration(client, keys, QUICK, "cli")
    before = await read(client, keys)

    assert await store_configuration(client, keys, QUICK, "cli") == 1

    assert await read(client, keys) == before


async def test_what_was_never_configured_has_the_defaults(client: Redis, keys: Keys) -> None:
    assert await stored_configuration(client, keys) == Config()


async def test_a_file_is_validated_before_it_is_in_force(
    client: Redis, session_store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "roundhouse.yaml"
    path.write_text("timing: {heartbeat_s: fast}\n")

    with pytest.raises(ConfigError):
        await apply_configuration(session_store.url, path)

    assert await configuration_version(session_store.url) is None


async def test_a_file_that_is_applied_is_in_force(
    client: Redis, session_store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "roundhouse.yaml"
    path.write_text("timing: {heartbeat_s: 0.25}\n")

    assert await apply_configuration(session_store.url, path, "cell:") == 1

    assert await configuration_version(session_store.url, "cell:") == 1
    assert await configuration_version(session_store.url) is None
    assert (await stored_configuration(client, Keys("cell:"))).timing == QUICK.timing


async def test_a_watcher_waits_for_the_first_configuration(
    client: Redis, keys: Keys, watch: ConfigurationWatch
) -> None:
    assert not watch.known

    await store_configuration(client, keys, QUICK, "cli")
    async with asyncio.timeout(5):
        await watch.ready()

    assert watch.known
    assert watch.config == QUICK


async def test_a_watcher_is_told_of_a_change_and_keeps_what_the_store_lost(
    client: Redis, keys: Keys, watch: ConfigurationWatch
) -> None:
    await store_configuration(client, keys, Config(), "cli")
    await watch.ready()
    change = asyncio.create_task(watch.changed())
    await store_configuration(client, keys, QUICK, "cli")

    await until(change.done)
    await client.flushall()

    assert watch.config == QUICK
