"""Requests run on while the audit trail's database or its logger is away; the trail misses none.

TRAIL_OUTAGE_S in the environment makes the outage of Postgres longer, for measuring.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from shared.bus.ids import attempt_id
from shared.events.inference import STORIES, InferenceAttemptFailed
from tests.chaos import trail
from tests.databases import Postgres
from tests.fakes.asking import final
from tests.fundamentals.conftest import say
from tests.fundamentals.tour import Say
from tests.journeys import checker
from tests.journeys.conftest import Stage
from tests.servers import free_port
from tests.waiting import until

__all__ = ["say"]

OUTAGE_S = float(os.environ.get("TRAIL_OUTAGE_S", "3"))
PATIENCE_S = 60 + OUTAGE_S
ASKERS = 20
KINDS = ("echo", "echo", "echo", "crash", "unknown")


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    postgres = Postgres(tmp_path / "postgres", port=free_port()).start()
    yield postgres
    postgres.remove()


async def ask_until(stage: Stage, enough: asyncio.Event) -> None:
    """One request after another, of every kind."""
    number = 0
    while not enough.is_set():
        stream = await stage.asker.ask("one two three", model=KINDS[number % len(KINDS)])
        await final(stream, PATIENCE_S)
        number += 1


async def caught_up(stage: Stage, postgres: Postgres) -> None:
    """Every end has its row; then there must be nothing else, and nothing twice."""
    ends = len(stage.asker.asked)
    await until(lambda: trail.recorded(postgres) >= ends, PATIENCE_S)
    await until(lambda: nothing_waits(stage), PATIENCE_S)
    told = await stage.stories()
    found = trail.read(postgres)
    assert list(trail.violations(found, told, set())) == []
    assert len(found.requests) == ends
    inbox = {row["event_id"] for row in postgres.rows("SELECT event_id FROM inbox")}
    failed = [(name, each) for name, story in told.items() for each in story.failed]
    reports = {
        attempt_id(InferenceAttemptFailed.type, name, each["inboxentry"], each["data"]["attempt"])
        for name, each in failed
    }
    assert inbox == {end["id"] for story in told.values() for end in story.finals} | reports


async def nothing_waits(stage: Stage) -> bool:
    keys = [checker.KEYS.stream(event) for event in STORIES]
    groups = [group for key in keys for group in await stage.client.xinfo_groups(key)]
    ours = [group for group in groups if group["name"] == b"audit-logger"]
    return all(not group["pending"] and not group["lag"] for group in ours)


async def test_no_row_is_missing_after_an_outage_of_postgres_under_load(
    stage: Stage, postgres: Postgres, say: Say
) -> None:
    await stage.router()
    await stage.worker("n1")
    await stage.audit_logger(postgres.url)
    enough = asyncio.Event()
    asking = asyncio.gather(*[ask_until(stage, enough) for _ in range(ASKERS)])

    await until(lambda: trail.recorded(postgres) > ASKERS, PATIENCE_S)
    postgres.stop()
    before = len(stage.asker.asked)
    await asyncio.sleep(OUTAGE_S)
    meanwhile = len(stage.asker.asked) - before
    await asyncio.to_thread(postgres.start)
    enough.set()
    await asking
    began_s = monotonic()

    assert meanwhile > ASKERS, "requests were answered without it"
    await caught_up(stage, postgres)
    say(f"{meanwhile} requests in {OUTAGE_S:g} s, in the trail {monotonic() - began_s:.1f} s later")
    await stage.settled()


async def test_a_logger_killed_under_load_misses_nothing_and_writes_nothing_twice(
    stage: Stage, postgres: Postgres
) -> None:
    await stage.router()
    await stage.worker("n1")
    logger = await stage.audit_logger(postgres.url)
    enough = asyncio.Event()
    asking = asyncio.gather(*[ask_until(stage, enough) for _ in range(ASKERS)])

    for _ in range(3):
        known = trail.recorded(postgres)
        await until(lambda known=known: trail.recorded(postgres) > known, PATIENCE_S)
        logger.kill()
        logger = await stage.audit_logger(postgres.url)
    enough.set()
    await asking
    for event in STORIES:  # as after a store that had lost what was acknowledged last
        await stage.client.xgroup_setid(
            checker.KEYS.stream(event), "audit-logger", "0", entries_read=0
        )

    await caught_up(stage, postgres)
    await stage.settled()
