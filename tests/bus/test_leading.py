"""Leading, one term after another: what ends a term, and what that costs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.exceptions import ConnectionError as StoreGoneError

from shared.bus.keys import Keys
from shared.bus.leading import StepDownError, holding, lead
from shared.bus.lease import Lease
from shared.bus.requests import FencedError
from shared.bus.writer import Writer
from shared.config import Timing
from tests.waiting import until

BRISK = Timing(router_lease_s=30.0, router_renew_s=0.02)


@pytest.fixture
async def lease(writer: Writer, keys: Keys) -> AsyncIterator[Lease]:
    lease = Lease(writer, keys, "router", "me", lambda: BRISK)
    task = asyncio.create_task(lease.hold())
    yield lease
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Terms:
    """Those that a leader had. Each but the last ends with one of `ends`."""

    def __init__(self, *ends: Exception) -> None:
        self.tokens: list[str] = []
        self.noted: list[BaseException] = []
        self._ends = list(ends)

    async def run(self, token: str) -> None:
        self.tokens.append(token)
        if self._ends:
            raise ExceptionGroup("a term", [self._ends.pop(0)])
        await asyncio.Event().wait()


async def after(lease: Lease, terms: Terms, check: Callable[[], bool | Awaitable[bool]]) -> None:
    leading = asyncio.create_task(lead(lease, terms.run, terms.noted.append))
    await until(check)
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)


@pytest.mark.parametrize(
    "end", [StepDownError("out of step"), FencedError("1:me"), StoreGoneError("gone")], ids=repr
)
async def test_what_every_leader_meets_ends_its_term_and_begins_the_next(
    lease: Lease, end: Exception
) -> None:
    terms = Terms(end)

    await after(lease, terms, lambda: len(terms.tokens) == 2)

    assert terms.tokens == ["1:me", "2:me"]
    assert terms.noted == []


async def test_a_mistake_ends_the_term_too_and_is_noted(lease: Lease) -> None:
    mistake = ValueError("a bug")
    terms = Terms(mistake)

    await after(lease, terms, lambda: len(terms.tokens) == 2)

    assert terms.tokens == ["1:me", "2:me"], "no token serves two terms"
    assert terms.noted == [mistake]


async def test_a_leader_that_stops_leaves_its_lease_to_be_given_back(
    lease: Lease, writer: Writer, keys: Keys
) -> None:
    terms = Terms()

    await after(lease, terms, lambda: bool(terms.tokens))

    assert lease.token == "1:me"


async def test_a_term_holds_as_long_as_its_token(lease: Lease) -> None:
    token = await lease.held()
    held = asyncio.create_task(holding(lease, token))
    await lease.renewed()
    assert not held.done()

    lease.drop()

    with pytest.raises(StepDownError):
        await asyncio.wait_for(held, 5)


async def test_a_cancellation_that_meets_the_end_of_a_term_ends_the_leading(lease: Lease) -> None:
    """A task group that is about to raise swallows it."""
    tokens: list[str] = []
    store_gone = asyncio.Event()

    async def work() -> None:
        await store_gone.wait()
        raise StoreGoneError("gone")

    async def cleanup() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            leading.cancel()

    async def term(token: str) -> None:
        tokens.append(token)
        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            group.create_task(cleanup())

    leading = asyncio.create_task(lead(lease, term, lambda _: None))
    await until(lambda: tokens)
    store_gone.set()

    await asyncio.wait({leading}, timeout=5)

    assert leading.cancelled()
    assert len(tokens) == 1
