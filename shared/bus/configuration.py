"""The configuration in force: stored with a version, polled by every service."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from shared.bus.connection import UNAVAILABLE, make_client
from shared.bus.envelope import envelope
from shared.bus.keys import Keys
from shared.bus.tail import redis_now_ms
from shared.config import Config, load_config
from shared.events.operations import ConfigChanged
from shared.log import get_logger

log = get_logger()

POLL_S = 1.0


async def store_configuration(client: Redis, keys: Keys, config: Config, source: str) -> int:
    """Put a configuration in force and announce it; the version it got. Unchanged: no new one."""
    body = config.model_dump_json()
    digest = hashlib.sha256(body.encode()).hexdigest()
    stored: list[Any] = await client.hmget(keys.config, "version", "digest")
    if stored[1] is not None and stored[1].decode() == digest:
        return int(stored[0])
    version = int(stored[0] or 0) + 1
    event = ConfigChanged(version=version, digest=digest)
    fields = envelope(event, source, ordinal=digest)
    added, gone = await _endpoints(client, keys, config, first=stored[0] is None)
    async with client.pipeline(transaction=True) as pipeline:
        pipeline.hset(keys.config, mapping={"version": version, "digest": digest, "body": body})
        if added:
            pipeline.hset(keys.endpoints, mapping=added)
            pipeline.hdel(keys.former_endpoints, *added)
        if gone:
            pipeline.hdel(keys.endpoints, *gone)
            pipeline.hset(keys.former_endpoints, mapping=dict.fromkeys(gone, 1))
        pipeline.execute_command("XADD", keys.stream(ConfigChanged), "*", *fields)
        await pipeline.execute()
    return version


async def endpoints_since(client: Redis, keys: Keys) -> dict[str, int]:
    """Since when, in ms, each endpoint that is configured has been so."""
    known: Any = await client.hgetall(keys.endpoints)
    return {name.decode(): int(since) for name, since in known.items()}


async def former_endpoints(client: Redis, keys: Keys) -> set[str]:
    """Those that were configured once; what waited for them is kept for a while."""
    names: Any = await client.hkeys(keys.former_endpoints)
    return {name.decode() for name in names}


async def _endpoints(
    client: Redis, keys: Keys, config: Config, *, first: bool
) -> tuple[Any, set[str]]:
    """New ones, with the time: they do not hear of what was before. And those that are gone.

    Before a store's first configuration there was nothing, or the store has just lost it.
    """
    known = await endpoints_since(client, keys)
    now_ms = 0 if first else await redis_now_ms(client)
    added = dict.fromkeys(config.endpoints.keys() - known.keys(), now_ms)
    return added, known.keys() - config.endpoints.keys()


async def apply_configuration(redis_url: str, path: Path | None, prefix: str = "rh:") -> int:
    """Validate a file (None: the defaults) and put it in force. Raises `ConfigError`."""
    config = load_config(path)
    client = make_client(redis_url)
    try:
        return await store_configuration(client, Keys(prefix), config, "cli")
    finally:
        await client.aclose()


async def configuration_version(redis_url: str, prefix: str = "rh:") -> int | None:
    """The version in force, None where nothing was applied (or the store lost it)."""
    client = make_client(redis_url)
    try:
        version = await client.hget(Keys(prefix).config, "version")
        return int(version) if version is not None else None
    finally:
        await client.aclose()


async def stored_configuration(client: Redis, keys: Keys) -> Config:
    """The configuration in force; the defaults where none was applied."""
    body: Any = await client.hget(keys.config, "body")
    return Config.model_validate_json(body) if body is not None else Config()


class ConfigurationWatch:
    """Keeps the configuration fresh. What was known stays in force where the store lost it."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._version: Any = None
        self._known = asyncio.Event()
        self._changes = asyncio.Event()
        self.config = Config()

    @property
    def known(self) -> bool:
        return self._known.is_set()

    async def ready(self) -> None:
        await self._known.wait()

    async def changed(self) -> None:
        """Wait for the next configuration."""
        await self._changes.wait()

    async def run(self) -> None:
        while True:
            try:
                await self._poll()
            except UNAVAILABLE:
                log.info("configuration_unreachable")
            await asyncio.sleep(POLL_S)

    async def _poll(self) -> None:
        digest: Any = await self._client.hget(self._keys.config, "digest")
        if digest is None or digest == self._version:
            return
        body = await self._client.hget(self._keys.config, "body")
        if body is None:
            return
        self.config = Config.model_validate_json(body)
        self._version = digest
        self._known.set()
        log.info("configuration", digest=digest.decode()[:12])
        self._changes.set()
        self._changes = asyncio.Event()
