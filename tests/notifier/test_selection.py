"""Who hears of what, and what they are told."""

from typing import Any

import pytest

from services.notifier.selection import Occurrence, data_of, hears
from shared.config import EndpointConfig


def endpoint(**settings: Any) -> EndpointConfig:
    return EndpointConfig(url="https://example.org", secret_env="S", **settings)


def occurrence(event: str = "inference.completed", **fields: Any) -> Occurrence:
    given: dict[str, Any] = {"id": "e1", "time": "t", "at_ms": 1000, "data": {"request_id": "r1"}}
    return Occurrence(event=event, **{**given, **fields})


REPORT = occurrence(attributes={"task": "report"})
LETTER = occurrence("dead_letter", data={"origin": "a.v1"}, letter="5-0")
LOST_COMPLETION = occurrence("dead_letter", undelivered=("n8n", "inference.completed"))
LOST_LETTER = occurrence("dead_letter", undelivered=("n8n", "dead_letter"))


@pytest.mark.parametrize(
    ("settings", "what", "told"),
    [
        ({}, REPORT, True),
        ({}, LETTER, True),
        ({"events": ["inference.failed"]}, REPORT, False),
        ({"events": ["inference.failed"]}, occurrence("inference.failed"), True),
        ({"tasks": ["report"]}, REPORT, True),
        ({"tasks": ["chat"]}, REPORT, False),
        ({"tasks": ["chat"]}, occurrence(), False),
        ({"tasks": ["chat"]}, LETTER, True),
    ],
)
def test_an_endpoint_hears_of_what_it_asked_for(
    settings: dict[str, Any], what: Occurrence, told: bool
) -> None:
    assert hears("n8n", endpoint(**settings), what, 0) is told


def test_an_endpoint_does_not_hear_of_what_was_before_it() -> None:
    assert not hears("n8n", endpoint(), occurrence(at_ms=999), 1000)
    assert hears("n8n", endpoint(), occurrence(at_ms=1000), 1000)


def test_others_hear_of_a_notification_that_was_given_up_but_not_in_turn_of_that() -> None:
    assert not hears("n8n", endpoint(), LOST_COMPLETION, 0)
    assert hears("pager", endpoint(), LOST_COMPLETION, 0)
    assert not hears("n8n", endpoint(), LOST_LETTER, 0)
    assert not hears("pager", endpoint(), LOST_LETTER, 0)


def test_the_data_say_whose_request_it_was() -> None:
    what = occurrence(
        data={"request_id": "r1", "model": "m"},
        attributes={"task": "report", "priority": "HIGH", "principal": "p", "traceparent": "00-1"},
    )

    assert data_of(what) == {
        "request_id": "r1",
        "model": "m",
        "event": {"id": "e1", "traceparent": "00-1"},
        "request": {
            "id": "r1",
            "task": "report",
            "priority": "HIGH",
            "principal": "p",
            "tenant": None,
            "dataclass": "internal",
            "model": "m",
        },
    }


def test_a_dead_letter_has_its_id_and_no_request() -> None:
    assert data_of(LETTER) == {
        "origin": "a.v1",
        "letter": "5-0",
        "event": {"id": "e1"},
        "request": None,
    }
