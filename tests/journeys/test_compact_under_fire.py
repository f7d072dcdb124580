"""All services in one process, and their store: each is killed while requests run."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from tests.fakes.asking import INBOX
from tests.journeys import checker
from tests.journeys.checkout import Checkout
from tests.servers import free_port, on_a_fast_disk
from tests.waiting import until

CONFIGURATION = """
audit: {mode: "off"}
nodes: {local: {discover: false}}
timing: {heartbeat_s: 0.5, node_lost_s: 3, flight_lease_s: 3, flight_beat_s: 0.5}
"""
AT_A_TIME = 8
PATIENCE_S = 60.0
STORY = json.dumps(
    {"input": {"messages": [{"role": "user", "content": "Hello"}], "ignore_eos": True}}
)


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    with on_a_fast_disk("compact-") as folder:
        config = Path(folder, "roundhouse.yaml")
        config.write_text(CONFIGURATION)
        checkout = Checkout(Path(folder, "data"))
        options = ("--compact", "--port", str(free_port()), "--config", str(config))
        checkout.run("up", "--detach", *options)
        try:
            yield checkout
        finally:
            checkout.run("down")


@pytest.fixture
async def client(checkout: Checkout) -> AsyncIterator[redis.asyncio.Redis]:
    """Of a store that may be away: what is not answered is said again."""
    patience = Retry(ConstantBackoff(0.1), int(PATIENCE_S / 0.1))
    url = checkout.state().redis_url
    async with redis.asyncio.Redis.from_url(url, protocol=2, retry=patience) as client:
        yield client


class Load:
    """Requests with ids of their own, some at a time, one after another until it is enough."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self.asked: list[str] = []
        self.enough = False

    async def run(self) -> None:
        while not self.enough:
            await until(self._has_room, PATIENCE_S)
            self.asked.append(f"request-{len(self.asked)}")
            await self._client.xadd(
                INBOX, {"id": self.asked[-1], "maxtokens": "300", "data": STORY}
            )

    async def ended(self) -> int:
        return sum((await checker.outcomes(self._client)).values())

    async def all_ended(self) -> bool:
        return await self.ended() >= len(self.asked)

    async def goes_on(self) -> None:
        """Some more end, and some are under way then."""
        enough = await self.ended() + AT_A_TIME

        async def did() -> bool:
            return await self.ended() >= enough and await self._client.zcard(checker.KEYS.flight)

        await until(did, PATIENCE_S)

    async def _has_room(self) -> bool:
        return len(self.asked) - await self.ended() < AT_A_TIME


@pytest.mark.timeout(240)
async def test_whatever_is_killed_every_request_ends_once(
    checkout: Checkout, client: redis.asyncio.Redis
) -> None:
    load = Load(client)
    asking = asyncio.create_task(load.run())

    for name in ("services", "valkey"):
        await load.goes_on()
        await until(checkout.kill(name), PATIENCE_S)
    await load.goes_on()
    load.enough = True
    await asking
    await until(load.all_ended, PATIENCE_S)

    await checker.everything_ended_once(client, load.asked)
    outcomes = await checker.outcomes(client)
    assert outcomes["inference.completed.v1"] > len(load.asked) / 2, outcomes
    restarts = {name: each.restarts for name, each in checkout.processes().items()}
    assert restarts == {"valkey": 1, "services": 1}
