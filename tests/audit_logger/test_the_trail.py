"""What the audit-logger makes of events, in a real Postgres."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import redis.asyncio

from shared.bus.connection import ensure_group
from shared.bus.ids import final_id
from shared.bus.keys import Keys
from shared.events.inference import InferenceCompleted
from shared.events.operations import DeadLetter
from tests.audit_logger.telling import (
    STORY,
    attempt_failed,
    cancelled,
    completed,
    failed,
    publish,
    rejected,
)
from tests.audit_logger.trail import recorded, settled
from tests.databases import Postgres
from tests.waiting import until

Client = redis.asyncio.Redis
Start = Callable[..., Any]
KEYS = Keys()
COMPLETED = KEYS.stream(InferenceCompleted)


async def test_a_completed_request_is_a_row_with_all_that_explains_it(
    configured: Client, postgres: Postgres, start: Start
) -> None:
    await start(postgres.url)

    await publish(configured, completed("r1", model_digest="sha256:abc", cold=True))

    [row] = await recorded(postgres, 1)
    same = ("traceparent", "task", "priority", "principal", "tenant", "dataclass", "operation")
    assert {name: row[name] for name in same} == {name: STORY[name] for name in same}
    assert (row["request_id"], row["event_id"]) == ("r1", final_id("r1", STORY["inboxentry"]))
    assert (row["outcome"], row["attempts"], row["finish_reason"]) == ("completed", 1, "stop")
    assert (row["model"], row["node"], row["engine"]) == ("qwen-7b", "gpu-1", "llama_cpp")
    assert (row["prompt_tokens"], row["completion_tokens"]) == (12, 3)
    assert (row["queue_ms"], row["prefill_ms"], row["total_ms"]) == (10, 30.5, 110)
    assert (row["model_digest"], row["cold"], row["degraded"]) == ("sha256:abc", True, False)
    assert row["admitted_at"] - row["received_at"] == timedelta(milliseconds=2)
    assert row["first_byte_at"] - row["started_at"] == timedelta(milliseconds=48)
    assert len(row["output_sha256"]) == 64
    [attempt] = postgres.rows("SELECT * FROM attempts")
    assert (attempt["attempt"], attempt["outcome"]) == (1, "completed")
    assert attempt["route"] == STORY["route"]


async def test_each_kind_of_end_is_one_row_and_each_attempt_one(
    configured: Client, postgres: Postgres, start: Start
) -> None:
    await start(postgres.url)

    await publish(configured, attempt_failed("f", 1), attempt_failed("f", 2))
    await publish(configured, failed("f", attempts=2), attempt="2")
    await publish(configured, attempt_failed("c", 1))
    await publish(configured, completed("c", attempt=2))
    await publish(configured, cancelled("x"))
    await publish(configured, rejected("r"), attempt="0")

    rows = {row["request_id"]: row for row in await recorded(postgres, 4)}
    assert {name: row["outcome"] for name, row in rows.items()} == {
        **{"f": "failed", "c": "completed", "x": "cancelled", "r": "rejected"}
    }
    assert (rows["r"]["reason"], rows["r"]["message"]) == ("saturated", "too much")
    attempts = await until(lambda: six_attempts(postgres))
    assert attempts == [
        *(("c", 1, "failed", "hung"), ("c", 2, "completed", None)),
        *(
            ("f", 1, "failed", "hung"),
            ("f", 2, "failed", "hung"),
            ("x", 1, "cancelled", "cancelled"),
        ),
    ]


def six_attempts(postgres: Postgres) -> list[tuple[Any, ...]]:
    rows = postgres.rows("SELECT * FROM attempts ORDER BY request_id, attempt")
    told = [(row["request_id"], row["attempt"], row["outcome"], row["reason"]) for row in rows]
    return told if len(told) == 5 else []


async def test_what_is_delivered_twice_is_written_once(
    configured: Client, postgres: Postgres, start: Start
) -> None:
    for _ in range(3):
        await publish(configured, completed("twice"), attempt_failed("twice", 9))
    await start(postgres.url)
    await recorded(postgres, 1)

    await configured.xgroup_destroy(COMPLETED, "audit-logger")
    await publish(configured, completed("other"))

    await recorded(postgres, 2)
    assert len(postgres.rows("SELECT * FROM attempts")) == 3


async def test_the_first_end_of_a_request_is_the_one_that_counts(
    configured: Client, postgres: Postgres, start: Start
) -> None:
    """After a crash of the machine followers may see two, with the same id."""
    await start(postgres.url)
    await publish(configured, completed("r"))
    await recorded(postgres, 1)

    await publish(configured, failed("r"))
    await publish(configured, completed("next"))

    assert [row["outcome"] for row in await recorded(postgres, 2)] == ["completed", "completed"]


async def test_what_was_published_before_the_first_start_is_not_missed(
    configured: Client, postgres: Postgres, start: Start
) -> None:
    await publish(configured, *(completed(f"r{number}") for number in range(600)))

    await start(postgres.url)

    await recorded(postgres, 600)
    await until(lambda: settled(configured))


async def test_one_that_cannot_be_written_holds_up_none(
    configured: Client, postgres: Postgres, start: Start
) -> None:
    """What is no event at all, what a column refuses, and characters that Postgres has not."""
    await ensure_group(configured, COMPLETED, "audit-logger")
    await publish(configured, completed("before"))
    await configured.xadd(COMPLETED, {"id": "e1", "data": "{}"})
    await publish(configured, completed("early"), receivedms="99999999999999999")
    await publish(configured, completed("huge"), inputbytes="9" * 30)
    await publish(configured, completed("nul", finish_reason="st\0p"), principal="a\0b")
    await publish(configured, completed("after"))

    service = await start(postgres.url)

    rows = await recorded(postgres, 3)
    assert {row["request_id"] for row in rows} == {"before", "nul", "after"}
    await until(lambda: service.readiness()["ready"])
    await until(lambda: settled(configured), 15)
    assert await configured.xlen(KEYS.stream(DeadLetter)) == 3
