"""What follows a failed attempt."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.policy.failover import (
    RULES,
    FailedAttempt,
    GiveUp,
    Retry,
    after_failure,
    backoff_ms,
)
from services.router.policy.request import Waiting
from shared.config.models import AttemptLimits
from shared.events.inference import FailureReason
from tests.fakes.world import fleet_of, law, local, node, waiting

NOW_MS = 1_000_000
LIMITS = AttemptLimits(limit=3)
OFFERS = fleet_of(
    node(
        "n",
        [
            local("small", context_tokens=2048),
            local("equal", context_tokens=2048),
            local("large", context_tokens=8192),
            local("huge", context_tokens=32768),
            "heuristic:tickets",
        ],
    )
).offers
CHARGED = [reason for reason in RULES if reason.charge]


def after(
    reason: FailureReason,
    record: Waiting,
    model: str = "small",
    *,
    random: float = 0.0,
    **facts: Any,
) -> Retry | GiveUp:
    failed = FailedAttempt(record, model, reason, **facts)
    return after_failure(failed, OFFERS, LIMITS, NOW_MS, random)


def retried(reason: FailureReason, record: Waiting, model: str = "small", **facts: Any) -> Waiting:
    answer = after(reason, record, model, **facts)
    assert isinstance(answer, Retry), answer
    return answer.waiting


def given_up(reason: FailureReason, record: Waiting, model: str = "small", **facts: Any) -> GiveUp:
    answer = after(reason, record, model, **facts)
    assert isinstance(answer, GiveUp), answer
    return answer


R = FailureReason


@pytest.mark.parametrize(
    ("reason", "chain", "charge", "position", "delay_ms"),
    [
        pytest.param(R.NOT_RESIDENT, "small large", 0, 0, 1000, id="not_resident"),
        pytest.param(R.PREEMPTED, "small large", 0, 0, None, id="preempted"),
        pytest.param(R.CONTEXT_EXCEEDED, "small large", 0, 1, None, id="context_exceeded"),
        pytest.param(R.CONTEXT_EXCEEDED, "small equal large", 0, 2, None, id="not an equal one"),
        pytest.param(R.NODE_LOST, "small large", 1, 0, None, id="node_lost"),
        pytest.param(R.WORKER_RESTARTED, "small large", 1, 0, 1000, id="worker_restarted"),
        pytest.param(R.REFUSED, "small large", 1, 1, None, id="refused"),
        pytest.param(R.TIMED_OUT, "small large", 1, 1, None, id="timed_out"),
        pytest.param(R.HUNG, "small large", 1, 1, None, id="hung"),
        pytest.param(R.CRASHED, "small large", 1, 1, None, id="crashed"),
        pytest.param(R.OUT_OF_MEMORY, "small large", 1, 1, None, id="out_of_memory"),
        pytest.param(R.HUNG, "small", 1, 0, 1000, id="the same where there is no other"),
        pytest.param(R.HUNG, "small away large", 1, 2, None, id="one that is offered"),
        pytest.param(R.HUNG, "small away", 1, 0, 1000, id="the same where the other is away"),
        pytest.param(R.HUNG, "small heuristic:tickets", 1, 1, None, id="rules at last"),
    ],
)
def test_what_may_be_tried_again(
    reason: FailureReason, chain: str, charge: int, position: int, delay_ms: int | None
) -> None:
    before = waiting("r", *chain.split())

    answer = after(reason, before)

    assert isinstance(answer, Retry)
    assert answer.charge == charge
    assert answer.waiting.position == position
    assert answer.waiting.not_before_ms == (NOW_MS + delay_ms if delay_ms else 0)
    assert (answer.waiting.attempt, answer.waiting.charged) == (1, charge)


def test_every_reason_of_an_attempt_has_a_rule_or_is_final() -> None:
    final = {R.BAD_INPUT}
    of_attempts = list(R)[list(R).index(R.NOT_RESIDENT) : list(R).index(R.BAD_INPUT) + 1]

    assert RULES.keys() == set(of_attempts) - final


def test_bad_input_is_final() -> None:
    answer = given_up(R.BAD_INPUT, waiting("r", "small", "large"))

    assert answer.reason is R.BAD_INPUT
    assert answer.message.startswith("small: bad_input")


def test_the_last_candidate_is_followed_by_the_first() -> None:
    record = waiting("r", "small", "large", position=1, attempt=1, charged=1)

    assert retried(R.CRASHED, record, "large").position == 0


def test_from_an_overdue_candidate_the_next_is_counted_from_where_it_failed() -> None:
    record = waiting("r", "small", "large", "huge")

    assert retried(R.CRASHED, record, "large").position == 2


def test_an_overdue_candidate_that_refused_at_once_is_not_tried_again_at_once() -> None:
    record = waiting("r", "small", "large")

    again = retried(R.NOT_RESIDENT, record, "large")

    assert (again.position, again.not_before_ms) == (0, NOW_MS + 1000)


@pytest.mark.parametrize("reason", CHARGED)
def test_charged_attempts_are_limited(reason: FailureReason) -> None:
    record = waiting("r", "small", "large", attempt=2, charged=2)

    answer = given_up(reason, record)

    assert answer.reason is R.ATTEMPTS_EXHAUSTED
    assert "3 attempts failed" in answer.message
    assert reason in answer.message


def test_attempts_that_charge_nothing_are_not_limited() -> None:
    record = waiting("r", "small", attempt=10_000, charged=2)

    assert retried(R.NOT_RESIDENT, record).charged == 2


@pytest.mark.parametrize("reason", RULES)
def test_after_the_first_byte_there_is_no_silent_retry(reason: FailureReason) -> None:
    answer = given_up(reason, waiting("r", "small", "large"), first_byte_sent=True)

    assert answer.reason is R.AFTER_FIRST_BYTE


@pytest.mark.parametrize("reason", RULES)
def test_after_the_deadline_there_is_no_retry(reason: FailureReason) -> None:
    answer = given_up(reason, waiting("r", "small", "large", deadline_ms=NOW_MS))

    assert answer.reason is R.DEADLINE


def test_a_context_that_nothing_can_hold_is_told_by_how_much() -> None:
    record = waiting("r", "small", "large")

    answer = given_up(R.CONTEXT_EXCEEDED, record, "large", tokens_needed=10_000)

    assert answer.reason is R.CONTEXT_EXCEEDED
    assert answer.tokens_needed == 10_000
    assert "needs 10000 tokens" in answer.message
    assert "8192: 1808 too many" in answer.message


def test_a_context_that_was_exceeded_by_nobody_knows_how_much_is_told_too() -> None:
    answer = given_up(R.CONTEXT_EXCEEDED, waiting("r", "small"))

    assert "(2048 tokens at most); shorten it" in answer.message


def test_the_tokens_needed_choose_the_candidate_that_holds_them() -> None:
    record = waiting("r", "small", "large", "huge")

    again = retried(R.CONTEXT_EXCEEDED, record, tokens_needed=10_000)

    assert again.position == 2
    assert again.too_small == {"small", "large"}


def test_a_larger_candidate_that_is_away_is_waited_for() -> None:
    again = retried(R.CONTEXT_EXCEEDED, waiting("r", "small", "away"), tokens_needed=10_000)

    assert again.position == 1


def test_a_larger_candidate_may_stand_before_the_one_that_was_too_small() -> None:
    again = retried(R.CONTEXT_EXCEEDED, waiting("r", "large", "small"), "small")

    assert again.position == 0
    assert again.too_small == {"small"}


def test_rules_are_never_too_small() -> None:
    record = waiting("r", "huge", "heuristic:tickets")

    again = retried(R.CONTEXT_EXCEEDED, record, "huge", tokens_needed=10**6)

    assert again.position == 1


@pytest.mark.parametrize(
    ("attempt", "random", "expected_ms"),
    [
        (1, 0.0, 1000),
        (2, 0.0, 2000),
        (3, 0.0, 4000),
        (4, 0.0, 8000),
        (5, 0.0, 10_000),
        (10_000, 0.0, 10_000),
        (1, 0.5, 750),
        (5, 0.5, 7500),
    ],
)
def test_backoff_doubles_up_to_ten_seconds(attempt: int, random: float, expected_ms: int) -> None:
    assert backoff_ms(attempt, random) == expected_ms


@law
@given(
    chain=st.lists(st.sampled_from([*sorted(OFFERS), "away"]), min_size=1, unique=True),
    failures=st.lists(
        st.tuples(st.sampled_from(list(RULES)), st.integers(0, 4), st.floats(0, 0.999)),
        max_size=12,
    ),
)
def test_a_request_ends_after_its_limit_and_a_model_that_was_too_small_never_returns(
    chain: list[str], failures: list[tuple[FailureReason, int, float]]
) -> None:
    record = waiting("r", *chain)
    for reason, choice, random in failures:
        usable = [model for model in chain if model not in record.too_small]
        model = usable[choice % len(usable)]
        answer = after(reason, record, model, random=random)
        if isinstance(answer, GiveUp):
            assert answer.reason in (R.ATTEMPTS_EXHAUSTED, R.CONTEXT_EXCEEDED)
            return
        assert answer.waiting == replace(
            record,
            position=answer.waiting.position,
            attempt=record.attempt + 1,
            charged=record.charged + answer.charge,
            not_before_ms=answer.waiting.not_before_ms,
            too_small=answer.waiting.too_small,
        )
        record = answer.waiting
        assert record.charged < LIMITS.limit
        assert record.not_before_ms <= NOW_MS + 10_000
        if reason is R.CONTEXT_EXCEEDED:
            assert model in record.too_small
            assert chain[record.position] not in record.too_small
