"""Fixtures that more than one folder of tests uses."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from shared.bus.keys import Keys
from tests.fakes.clock import Clock
from tests.servers import Store, redis7_binary, valkey_binary

BINARIES = {"valkey-9": valkey_binary(), "redis-7.0": redis7_binary()}


SUMMED_UP = "summed up"
"""A property that a test records to have it said at the end, however it ended."""

each_store = pytest.mark.parametrize("own_store", BINARIES, indirect=True)


@pytest.fixture(scope="session", params=BINARIES)
def session_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """One store for the whole session; the tests that use it run on each kind that is installed."""
    binary = BINARIES[request.param]
    if binary is None:
        pytest.skip(f"{request.param} is not installed")
    store = Store(tmp_path_factory.mktemp("store"), binary).start()
    yield store
    store.stop()


@pytest.fixture
async def client(session_store: Store) -> AsyncIterator[redis.asyncio.Redis]:
    """An empty store."""
    client = redis.asyncio.Redis.from_url(session_store.url, protocol=2)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def own_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of the test's own, which it may kill; a Valkey, unless it asks for `each_store`."""
    binary = BINARIES[getattr(request, "param", "valkey-9")]
    if binary is None:
        pytest.skip(f"{request.param} is not installed")
    store = Store(tmp_path / "store", binary).start()
    yield store
    store.stop()


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    clock = Clock(tmp_path)
    if not clock.can_jump:
        pytest.skip("there is no C compiler")
    return clock


@pytest.fixture
def jumping_store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """A store of the test's own, whose wall clock the test sets."""
    store = Store(tmp_path / "store", environment=clock.environment).start()
    yield store
    store.stop()


@pytest.fixture
def keys() -> Keys:
    return Keys()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [each for reports in terminalreporter.stats.values() for each in reports]
    said = {
        (report.nodeid.partition("[")[0], value)
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == SUMMED_UP
    }
    for test, value in sorted(said):
        terminalreporter.write_line(f"{test}: {value}")
