"""`audit`: what the trail knows of requests that ended, asked through the store alone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from shared.bus.configuration import store_configuration
from shared.bus.keys import Keys
from tests.audit_logger.telling import attempt_failed, completed, failed, publish, rejected
from tests.databases import Postgres
from tests.fakes.command import Command
from tests.fakes.processes import Child, Processes, audit_logger
from tests.fundamentals.tour import FAST
from tests.servers import Store
from tests.waiting import until


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    postgres = Postgres(tmp_path_factory.mktemp("postgres") / "server").start()
    yield postgres
    postgres.remove()


@pytest.fixture
async def logger(own_store: Store, postgres: Postgres, tmp_path: Path) -> AsyncIterator[Child]:
    """An audit-logger with an empty trail; it ends with the test."""
    postgres.empty()
    processes = Processes(tmp_path)
    async with redis.asyncio.Redis.from_url(own_store.url) as client:
        await store_configuration(client, Keys(), FAST, "test")
        child = processes.start(audit_logger, own_store.url, database_url=postgres.url)
        await publish(client, *(completed(f"r{number}") for number in range(30)))
        await publish(client, attempt_failed("worse"), failed("worse"), task="report")
        await publish(client, rejected("never"), task="report")
        for number in range(105):
            await publish(client, completed("daily"), inboxentry=f"{number}-0", task="daily")
    yield child
    processes.end()


@pytest.fixture
async def audit(lonely: Command, logger: Child) -> Command:
    """The command, once the trail is complete."""

    def complete() -> bool:
        found = lonely.run("audit", "search", "--limit", "200", "--json")
        return found.code == 0 and len(found.document) == 32 + 105

    await until(complete, 20, every_s=0.2)
    return lonely


async def test_the_latest_come_first_and_there_may_be_more(audit: Command) -> None:
    table = audit.run("audit", "search")
    everything = audit.run("audit", "search", "--limit", "200", "--json").document

    assert table.out.startswith("ended")
    assert len(table.out.splitlines()) == 1 + 20
    assert "There are more; see 40 with --limit 40." in table.err
    times = [each["finished_at"] for each in everything]
    assert times == sorted(times, reverse=True)
    assert len({each["request_id"] for each in everything}) == 32 + 1
    assert len({each["event_id"] for each in everything}) == len(everything)


async def test_what_matches_is_found_and_nothing_else(audit: Command) -> None:
    def found(*terms: str) -> set[str]:
        rows = audit.run("audit", "search", "--limit", "200", "--json", *terms).document
        return {each["request_id"] for each in rows}

    assert found("--task", "report") == {"worse", "never"}
    assert found("--task", "report", "--outcome", "failed") == {"worse"}
    assert found("--outcome", "rejected", "--since", "1h") == {"never"}
    assert len(found("--node", "gpu-1", "--model", "qwen-7b", "--principal", "local")) >= 31
    assert audit.run("audit", "search", "--node", "elsewhere").out == "No request matches.\n"


async def test_one_request_is_told_with_its_attempts(audit: Command) -> None:
    document = audit.run("audit", "show", "worse", "--json").document
    text = audit.run("audit", "show", "worse").out

    assert document["outcome"] == "failed"
    assert [each["reason"] for each in document["tries"]] == ["hung"]
    assert "no token for 60 s" in text
    assert "given to gpu-2" in text


async def test_every_use_of_an_id_is_told_with_its_own_attempts_newest_first(
    audit: Command,
) -> None:
    document = audit.run("audit", "show", "daily", "--json").document
    text = audit.run("audit", "show", "daily").out
    once = audit.run("audit", "show", "worse", "--json").document

    uses = [document, *document["earlier"]]
    assert {each["inbox_entry"] for each in uses} == {f"{number}-0" for number in range(105)}
    times = [each["finished_at"] for each in uses]
    assert times == sorted(times, reverse=True)
    assert all(
        [each["inbox_entry"] for each in use["tries"]] == [use["inbox_entry"]] for use in uses
    )
    assert text.startswith("105 requests had this id")
    assert text.count("daily: completed") == 105
    assert "earlier" not in once


async def test_what_is_unknown_or_cannot_be_asked_is_said(audit: Command) -> None:
    unknown = audit.run("audit", "show", "nobody")
    odd = audit.run("audit", "search", "--model", "two words")

    assert (unknown.code, odd.code) == (1, 1)
    assert "knows nothing of nobody" in unknown.err
    assert "./roundhouse why" in unknown.err
    assert "--model 'two words' is no name of anything" in odd.err


async def test_a_trail_whose_database_is_away_says_so(
    audit: Command, postgres: Postgres, logger: Child
) -> None:
    await asyncio.to_thread(postgres.stop)
    try:
        answer = await asyncio.to_thread(audit.run, "audit", "search")
    finally:
        await asyncio.to_thread(postgres.start)

    assert answer.code == 1
    assert "audit-logger cannot answer" in answer.err


def test_without_an_audit_logger_the_wait_is_given_up(lonely: Command) -> None:
    answer = lonely.run("audit", "show", "anything")

    assert answer.code == 1
    assert "No audit-logger answers on this store." in answer.err
    assert "./roundhouse status" in answer.err
