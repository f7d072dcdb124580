"""The database goes away and comes back; nothing is lost, nothing is doubled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from services.audit_logger.spill import Spill, held, pages
from shared.bus.configuration import store_configuration
from shared.bus.connection import ensure_group
from shared.bus.keys import Keys
from shared.bus.unsettled import TOO_MUCH, unsettled_share
from shared.config import AuditConfig
from shared.events.inference import STORIES, InferenceCompleted
from shared.events.operations import DeadLetter
from shared.service import Service
from tests.audit_logger.telling import completed, publish
from tests.audit_logger.trail import recorded, settled
from tests.databases import Postgres
from tests.fundamentals.tour import FAST
from tests.waiting import until

Client = redis.asyncio.Redis
Start = Callable[..., Any]
KEYS = Keys()
COMPLETED = KEYS.stream(InferenceCompleted)
STREAMS = [KEYS.stream(event) for event in STORIES]


def lack(service: Service) -> str:
    return str(service.readiness()["checks"]["database"])


async def test_what_comes_meanwhile_is_written_when_it_is_back(
    configured: Client, own_postgres: Postgres, start: Start
) -> None:
    service = await start(own_postgres.url)
    await publish(configured, *(completed(f"before-{number}") for number in range(10)))
    await recorded(own_postgres, 10)

    own_postgres.stop()
    await publish(configured, *(completed(f"meanwhile-{number}") for number in range(1000)))
    await until(lambda: "away" in lack(service), 10)
    assert not service.readiness()["ready"]
    own_postgres.start()

    await recorded(own_postgres, 1010, timeout_s=60)
    await until(lambda: settled(configured), 15)
    await until(lambda: service.readiness()["ready"], 10)
    assert await configured.xlen(KEYS.stream(DeadLetter)) == 0


async def test_killed_or_hung_it_is_no_different(
    configured: Client, own_postgres: Postgres, start: Start
) -> None:
    service = await start(own_postgres.url)
    await until(lambda: service.readiness()["ready"], 10)

    own_postgres.kill()
    await publish(configured, *(completed(f"killed-{number}") for number in range(100)))
    own_postgres.start()
    await recorded(own_postgres, 100, timeout_s=30)

    own_postgres.freeze()
    await publish(configured, *(completed(f"hung-{number}") for number in range(100)))
    await until(lambda: not service.readiness()["ready"], 10)
    own_postgres.thaw()

    await recorded(own_postgres, 200, timeout_s=30)
    assert await configured.xlen(KEYS.stream(DeadLetter)) == 0


async def test_it_starts_before_its_database(
    configured: Client, own_postgres: Postgres, start: Start
) -> None:
    own_postgres.stop()
    await publish(configured, completed("r1"))

    service = await start(own_postgres.url)
    assert not service.readiness()["ready"]
    own_postgres.start()

    await recorded(own_postgres, 1, timeout_s=30)
    await until(lambda: service.readiness()["ready"], 10)


async def test_two_that_start_at_once_make_the_tables_once(
    configured: Client, postgres: Postgres, start: Start
) -> None:
    services = [await start(postgres.url, instance=f"logger-{number}") for number in range(3)]
    await until(lambda: all(service.readiness()["ready"] for service in services), 15)

    await publish(configured, *(completed(f"r{number}") for number in range(300)))

    await recorded(postgres, 300)
    applied = postgres.rows("SELECT version FROM migrations ORDER BY version")
    assert [row["version"] for row in applied] == [1, 2, 3]


async def test_what_one_that_died_was_given_is_taken_over(
    configured: Client, postgres: Postgres, start: Start
) -> None:
    await publish(configured, *(completed(f"r{number}") for number in range(20)))
    await ensure_group(configured, COMPLETED, "audit-logger")
    await configured.xreadgroup("audit-logger", "the-dead", {COMPLETED: ">"}, count=15)

    await start(postgres.url)

    await recorded(postgres, 20)


async def test_what_fills_the_store_is_spilled_and_replayed(
    configured: Client, own_postgres: Postgres, start: Start, tmp_path: Path
) -> None:
    service = await start(own_postgres.url)
    await until(lambda: service.readiness()["ready"], 10)
    own_postgres.stop()
    await until(lambda: "away" in lack(service), 10)

    await crowd(configured)
    spilled = tmp_path / "audit-spill"
    await until(lambda: unheld(configured), 30)

    [file] = spilled.glob("*.jsonl")
    assert file.stat().st_mode & 0o077 == 0
    assert b"Hello" not in file.read_bytes(), "answers stay out of the file"
    own_postgres.start()
    rows = await recorded(own_postgres, 2000, timeout_s=60)
    assert len({row["request_id"] for row in rows}) == 2000
    await until(lambda: not list(spilled.glob("*.jsonl")), 10)
    await until(lambda: settled(configured), 15)


async def test_a_strict_trail_spills_nothing(
    configured: Client, own_postgres: Postgres, start: Start, tmp_path: Path
) -> None:
    strict = FAST.model_copy(update={"audit": AuditConfig(mode="strict")})
    await store_configuration(configured, KEYS, strict, "test")
    own_postgres.stop()
    service = await start(own_postgres.url)

    await crowd(configured)
    await until(lambda: "away" in lack(service), 10)

    assert await unsettled_share(configured, "audit-logger", STREAMS) > TOO_MUCH
    assert not (tmp_path / "audit-spill").exists()
    own_postgres.start()
    await recorded(own_postgres, 2000, timeout_s=60)


async def test_what_another_process_left_is_replayed_and_a_torn_line_is_not(
    configured: Client, postgres: Postgres, start: Start, tmp_path: Path
) -> None:
    left = Spill(tmp_path / "audit-spill", "the-dead")
    left.write([b'{"event_id":"a","request":' + ROW % b"r1" + b"}"])
    left.write([b'{"event_id":"b","request":' + ROW % b"r2" + b',"attempt":null}'] * 2)
    left.write([b'{"event_id":"c","request":{"request_id":"r3"}}'])
    left.close()
    [file] = left.files()
    file.write_bytes(file.read_bytes() + b'{"event_id":"d","requ')

    await start(postgres.url)

    assert [row["request_id"] for row in await recorded(postgres, 2)] == ["r1", "r2"]
    await until(lambda: not left.files(), 10)
    assert b'"event_id":"c"' in (tmp_path / "audit-spill" / "refused").read_bytes()


ROW = (
    b'{"request_id":"%s","event_id":"x","outcome":"completed","attempts":1,"cold":false,'
    b'"degraded":false,"noise":false,"finished_at":"2026-11-21T15:00:00Z"}'
)


def test_a_file_that_is_being_written_is_nobody_else_s(tmp_path: Path) -> None:
    spill = Spill(tmp_path, "one")
    spill.write([b"1", b"2"])
    [file] = spill.files()

    with held(file) as alone:
        assert not alone
    spill.close()
    spill.write([b"3"])

    with held(file) as alone:
        assert alone
        assert list(pages(file)) == [[b"1", b"2"]]
    assert len(spill.files()) == 2


@pytest.mark.parametrize("count", [0, 1, 256, 257, 600])
def test_pages_are_what_was_written(tmp_path: Path, count: int) -> None:
    spill = Spill(tmp_path, "one")
    rows = [str(number).encode() for number in range(count)]
    spill.write(rows)

    [file] = spill.files()

    assert [row for page in pages(file) for row in page] == rows


async def crowd(client: Client) -> None:
    """Two thousand ends, each so large that together they hold a third of the store's memory."""
    long_answer = {"choices": [{"message": {"content": "Hello. " * 200}}]}
    for first in range(0, 2000, 100):
        answers = [
            completed(f"r{number}").model_copy(update={"output": long_answer})
            for number in range(first, first + 100)
        ]
        await publish(client, *answers)
    usage = sum([await client.memory_usage(stream) or 0 for stream in STREAMS])
    await client.config_set("maxmemory", usage * 3)


async def unheld(client: Client) -> bool:
    return await unsettled_share(client, "audit-logger", STREAMS) < TOO_MUCH
