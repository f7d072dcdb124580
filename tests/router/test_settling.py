"""What a successor makes of a record."""

from services.router.policy.failover import LONGEST_BACKOFF_MS
from services.router.settling import waiting_from
from shared.bus.records import Row
from shared.events.base import Priority

NOW_MS = 1_000_000


def record(**facts: int) -> Row:
    numbers = {"admitted_ms": NOW_MS - 500, "deadline_ms": NOW_MS + 60_000, "not_before_ms": 0}
    return Row(
        request_id="r",
        score=0.0,
        chain=("qwen",),
        state="waiting",
        priority=Priority.NORMAL,
        tenant="local",
        model="",
        node="",
        last_reason="",
        operation="chat",
        attempt=1,
        charged=1,
        position=0,
        first_byte_ms=0,
        inputbytes=0,
        maxtokens=0,
        **(numbers | facts),
    )


def test_a_request_waits_as_its_record_says() -> None:
    waiting = waiting_from(record(not_before_ms=NOW_MS + 900), NOW_MS)

    assert (waiting.admitted_ms, waiting.not_before_ms) == (NOW_MS - 500, NOW_MS + 900)
    assert (waiting.attempt, waiting.charged) == (1, 1)


def test_nothing_lies_further_ahead_than_a_clock_that_was_not_set_back_would_show() -> None:
    ahead_ms = NOW_MS + 300_000
    waiting = waiting_from(record(admitted_ms=ahead_ms, not_before_ms=ahead_ms), NOW_MS)

    assert waiting.admitted_ms == NOW_MS
    assert waiting.not_before_ms == NOW_MS + LONGEST_BACKOFF_MS
    assert waiting.deadline_ms == NOW_MS + 60_000
