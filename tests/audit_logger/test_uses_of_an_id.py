"""An id of a request names another one, once the bus has forgotten the first: rows of their own."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import redis.asyncio

from services.audit_logger import database
from shared.events.base import Event
from shared.service import Service
from tests.audit_logger.telling import attempt_failed, completed, event_id, failed, publish
from tests.audit_logger.trail import recorded, settled
from tests.databases import Postgres
from tests.waiting import until

Client = redis.asyncio.Redis
Start = Callable[..., Any]
FIRST, SECOND = "1763712000000-0", "1763719200000-0"
MIGRATIONS = Path(database.__file__).parent / "migrations"


def attempts(postgres: Postgres) -> list[tuple[Any, ...]]:
    rows = postgres.rows(
        "SELECT * FROM attempts WHERE request_id = 'r' ORDER BY inbox_entry, attempt"
    )
    return [(row["inbox_entry"], row["attempt"], row["outcome"], row["message"]) for row in rows]


async def has(postgres: Postgres, *expected: tuple[Any, ...]) -> None:
    await until(lambda: attempts(postgres) == [*expected], 15)


async def test_each_use_of_an_id_is_a_row_with_attempts_of_its_own(
    configured: Client, postgres: Postgres, start: Start
) -> None:
    await start(postgres.url)

    await publish(configured, attempt_failed("r"), completed("r", attempt=2), inboxentry=FIRST)
    await publish(configured, completed("r"), inboxentry=SECOND)

    rows = {row["inbox_entry"]: row for row in await recorded(postgres, 2)}
    assert {row["request_id"] for row in rows.values()} == {"r"}
    assert {name: row["attempts"] for name, row in rows.items()} == {FIRST: 2, SECOND: 1}
    await has(
        postgres,
        (FIRST, 1, "failed", "no token for 60 s"),
        (FIRST, 2, "completed", None),
        (SECOND, 1, "completed", None),
    )


async def test_what_is_delivered_twice_of_a_second_use_is_written_once(
    configured: Client, postgres: Postgres, start: Start
) -> None:
    await start(postgres.url)

    for _ in range(3):
        await publish(configured, attempt_failed("r"), failed("r"), inboxentry=FIRST)
        await publish(configured, attempt_failed("r"), failed("r"), inboxentry=SECOND)
    await publish(configured, completed("last"), inboxentry="1763719200000-1")

    await recorded(postgres, 3)
    await until(lambda: settled(configured), 15)
    assert len(postgres.rows("SELECT * FROM attempts")) == 3


async def test_a_failure_that_is_told_late_belongs_to_its_own_use(
    configured: Client, postgres: Postgres, start: Start
) -> None:
    await start(postgres.url)
    await publish(configured, failed("r"), inboxentry=FIRST)
    await publish(configured, failed("r"), inboxentry=SECOND)
    await recorded(postgres, 2)
    await has(postgres, (FIRST, 1, "failed", None), (SECOND, 1, "failed", None))

    await publish(configured, attempt_failed("r"), inboxentry=FIRST)

    late = (FIRST, 1, "failed", "no token for 60 s")
    await has(postgres, late, (SECOND, 1, "failed", None))
    assert len(await recorded(postgres, 2)) == 2


def written_by_an_older_version(postgres: Postgres, *events: Event) -> None:
    """Its tables, in which each of these ended with the attempt that it had."""
    with psycopg.connect(postgres.url) as connection:
        connection.execute((database.HERE / "sql" / "migrations.sql").read_bytes())
        for number, name in enumerate(("0001_trail", "0002_searches"), 1):
            connection.execute((MIGRATIONS / f"{name}.sql").read_bytes())
            applied = "INSERT INTO migrations (version, name) VALUES (%s, %s)"
            connection.execute(applied, [number, name])
        for event in events:
            names = {"request": event.subject, "event": event_id(event, "")}
            connection.execute("INSERT INTO inbox (event_id) VALUES (%(event)s)", names)
            connection.execute(
                "INSERT INTO requests (request_id, event_id, outcome, attempts, finished_at,"
                " cold, degraded, noise)"
                " VALUES (%(request)s, %(event)s, 'failed', 1, now(), false, false, false)",
                names,
            )
            connection.execute(
                "INSERT INTO attempts (request_id, attempt, event_id, outcome, ended_at)"
                " VALUES (%(request)s, 1, %(event)s, 'failed', now())",
                names,
            )


async def changed(service: Service) -> None:
    """Who reads the tables before would wait for that, and this process with it."""
    await until(lambda: service.readiness()["ready"], 15)


async def test_rows_of_an_older_version_stay_and_go_on(
    configured: Client, postgres: Postgres, start: Start
) -> None:
    written_by_an_older_version(postgres, failed("r"), failed("other"))
    await publish(configured, failed("r"), attempt_failed("r"), inboxentry="")
    await publish(configured, completed("r"), inboxentry=SECOND)

    await changed(await start(postgres.url))

    rows = await recorded(postgres, 3)
    assert [(row["request_id"], row["inbox_entry"], row["seq"]) for row in rows[:2]] == [
        ("r", "", 1),
        ("other", "", 2),
    ]
    assert (rows[2]["request_id"], rows[2]["inbox_entry"]) == ("r", SECOND)
    late = ("", 1, "failed", "no token for 60 s")
    await has(postgres, late, (SECOND, 1, "completed", None))
    assert len(postgres.rows("SELECT * FROM attempts")) == 3


async def test_what_an_older_version_spilled_is_written_too(
    configured: Client, postgres: Postgres, start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "audit-spill"
    folder.mkdir()
    row = (
        '{"event_id":"e1","request":{"request_id":"r","outcome":"cancelled","attempts":1,'
        '"finished_at":"2025-11-21T08:00:00Z","cold":false,"degraded":false,"noise":false},'
        '"attempt":{"request_id":"r","attempt":1,"outcome":"cancelled",'
        '"ended_at":"2025-11-21T08:00:00Z"}}\n'
    )
    (folder / "old-0001.jsonl").write_text(row)

    await start(postgres.url)

    [kept] = await recorded(postgres, 1)
    assert (kept["event_id"], kept["inbox_entry"]) == ("e1", "")
    await has(postgres, ("", 1, "cancelled", None))


async def test_the_tables_are_changed_also_where_that_takes_long(
    configured: Client, postgres: Postgres, start: Start
) -> None:
    """As on a large table, or while what an older version began is not over."""
    written_by_an_older_version(postgres, failed("r"))
    await publish(configured, completed("r"), inboxentry=SECOND)

    with psycopg.connect(postgres.url) as older:
        older.execute("LOCK TABLE attempts IN ROW EXCLUSIVE MODE")
        service = await start(postgres.url)
        long_s = monotonic() + database.ANSWER_S + 1
        while monotonic() < long_s:
            lack = str(service.readiness()["checks"]["database"])
            assert lack == "not connected yet"
            await asyncio.sleep(0.1)

    await changed(service)
    await recorded(postgres, 2)
