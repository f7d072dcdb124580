"""Waits that nothing can end are given up."""

import asyncio

import pytest
import redis

from cli.errors import UserError
from cli.exchange import UNANSWERED, asking, exchange
from cli.store import connected
from shared.events.inference import InferenceRequested
from tests.servers import Store

REQUEST = InferenceRequested(input="hello")


@pytest.fixture
def store(own_store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """One that no service uses, and that the environment names."""
    monkeypatch.setenv("REDIS_URL", own_store.url)
    return own_store


async def test_without_a_router_a_request_ends_unanswered_and_is_taken_back(store: Store) -> None:
    async with asking(nobody_s=0.3) as requester:
        final = await exchange(requester, "mine", REQUEST)

    assert final.outcome == UNANSWERED
    assert final.data["request_id"] == "mine"
    assert final.data["reason"] == "no_router"
    with redis.Redis.from_url(store.url) as client:
        assert client.xlen("rh:inference.cancel_requested.v1") == 1


async def test_a_request_that_was_admitted_is_waited_for_without_a_router(store: Store) -> None:
    with redis.Redis.from_url(store.url) as client:
        client.hset("rh:request:mine", mapping={"state": "running"})

        async with asking(nobody_s=0.1) as requester:
            waiting = asyncio.create_task(exchange(requester, "mine", REQUEST))
            done, _ = await asyncio.wait([waiting], timeout=1.5)
            waiting.cancel()

    assert not done


async def test_a_store_that_goes_away_meanwhile_is_said_to_have(store: Store) -> None:
    async def lose_it() -> None:
        async with connected() as connection:
            store.kill()
            await connection.leads("router")

    with pytest.raises(UserError, match="went away, and may or may not have taken this"):
        await lose_it()
