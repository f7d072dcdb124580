"""What becomes of a notification after an attempt."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.verdict import (
    FREE_TRIES,
    LONGEST_WAIT_S,
    Answered,
    Delivered,
    GivenUp,
    Later,
    Outcome,
    Past,
    SwitchOff,
    Unanswered,
    seconds_of,
    verdict,
)
from shared.config.endpoints import RETRY_S

NEW = Past(failed=0, free=0)
DAY_S = 24 * 3600.0
REFUSED = Unanswered("refused", "the connection was refused", 3)
NOW = datetime(2026, 11, 21, 15, tzinfo=UTC)


def decide(outcome: Outcome, past: Past = NEW, lot: float = 0.5) -> object:
    return verdict(outcome, past, RETRY_S, lot)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_delivery(status: int) -> None:
    assert decide(Answered(status, 5)) == Delivered(status)


@pytest.mark.parametrize("status", [101, 301, 302, 307, 308, 400, 401, 404, 429, 500, 503, 504])
def test_any_other_status_is_tried_again(status: int) -> None:
    assert decide(Answered(status, 5)) == Later(RETRY_S[0], charge=1)


def test_who_is_gone_is_called_no_more() -> None:
    assert decide(Answered(410, 5)) == SwitchOff()


def test_the_pauses_are_those_of_standard_webhooks() -> None:
    pauses = []
    past = NEW
    while isinstance(later := decide(REFUSED, past), Later):
        pauses.append(later.delay_s)
        past = Past(past.failed + later.charge, 0)

    hours = [pause / 3600 for pause in pauses]
    assert pauses[:3] == [5, 300, 1800]
    assert hours[3:] == [2, 5, 10, 14, 20, 24]
    assert later == GivenUp("refused", "the connection was refused")


@given(st.floats(0, 1), st.integers(0, len(RETRY_S) - 1))
def test_a_pause_varies_by_a_tenth(lot: float, failed: int) -> None:
    later = decide(REFUSED, Past(failed, 0), lot)

    assert isinstance(later, Later)
    assert 0.9 * RETRY_S[failed] <= later.delay_s <= 1.1 * RETRY_S[failed] + 1e-6


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("wanted_s", "rest_s"), [(7.0, 7.0), (0.0, 1.0), (10 * DAY_S, DAY_S)], ids=str
)
def test_who_says_when_is_left_alone_until_then(
    status: int, wanted_s: float, rest_s: float
) -> None:
    later = decide(Answered(status, 5, wanted_s), Past(failed=8, free=0))

    assert later == Later(rest_s, charge=0, rest_s=rest_s)


def test_who_always_says_when_is_not_asked_for_ever() -> None:
    answer = Answered(503, 5, 1.0)

    assert decide(answer, Past(0, FREE_TRIES)) == Later(RETRY_S[0], charge=1, rest_s=1.0)
    assert decide(answer, Past(len(RETRY_S), FREE_TRIES)) == GivenUp("status", "HTTP 503", 503)


def test_what_waited_for_three_days_is_not_put_off_again() -> None:
    waited = Past(failed=1, free=1, waited_s=LONGEST_WAIT_S)

    assert decide(Answered(503, 5, 60.0), waited) == GivenUp("status", "HTTP 503", 503)
    assert decide(Unanswered("timed_out", "no answer", 5), waited) == GivenUp(
        "timed_out", "no answer"
    )
    assert isinstance(decide(Answered(204, 5), waited), Delivered)


def test_only_these_two_may_say_when() -> None:
    assert decide(Answered(500, 5, 7.0)) == Later(RETRY_S[0], charge=1)


def test_what_may_not_go_there_will_not_go_there_later_either() -> None:
    assert decide(Unanswered("withheld", "why", 0)) == GivenUp("withheld", "why")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        (format_datetime(NOW + timedelta(minutes=2), usegmt=True), 120.0),
        (format_datetime(NOW - timedelta(minutes=2), usegmt=True), 0.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("9" * 400, float("9" * 12)),
    ],
)
def test_a_receiver_may_say_when_in_seconds_or_by_a_date(
    header: str, seconds: float | None
) -> None:
    assert seconds_of(header, NOW) == seconds


@given(st.text())
def test_nonsense_says_nothing(header: str) -> None:
    found = seconds_of(header, NOW)

    assert found is None or found >= 0
