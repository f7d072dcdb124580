"""Which HTTP status a failure has, and what a client is told to do about it."""

import json

import pytest

from services.gateway.errors import ApiError, from_reply
from shared.events.inference import FailureReason

STATUS = {
    FailureReason.INVALID: 400,
    FailureReason.CONFLICT: 409,
    FailureReason.UNKNOWN_MODEL: 404,
    FailureReason.UNKNOWN_TASK: 404,
    FailureReason.NO_ELIGIBLE_NODE: 503,
    FailureReason.SATURATED: 429,
    FailureReason.NOT_RESIDENT: 503,
    FailureReason.CONTEXT_EXCEEDED: 400,
    FailureReason.REFUSED: 502,
    FailureReason.TIMED_OUT: 502,
    FailureReason.HUNG: 502,
    FailureReason.CRASHED: 502,
    FailureReason.OUT_OF_MEMORY: 502,
    FailureReason.NODE_LOST: 503,
    FailureReason.WORKER_RESTARTED: 503,
    FailureReason.PREEMPTED: 503,
    FailureReason.BAD_INPUT: 400,
    FailureReason.DEADLINE: 504,
    FailureReason.ATTEMPTS_EXHAUSTED: 502,
    FailureReason.AFTER_FIRST_BYTE: 502,
    FailureReason.CANCELLED: 499,
    FailureReason.STORE_LOST: 503,
}


def test_every_reason_has_a_status() -> None:
    found = {reason: from_reply("failed", {"reason": reason}).status for reason in FailureReason}

    assert found == STATUS


def test_a_cancelled_request_needs_no_reason() -> None:
    error = from_reply("cancelled", {"message": "asked"})

    assert (error.status, error.code, error.message) == (499, "cancelled", "asked")


def test_exhausted_attempts_are_told_by_what_the_last_one_met() -> None:
    error = from_reply(
        "failed", {"reason": "attempts_exhausted", "last_reason": "context_exceeded"}
    )

    assert (error.status, error.code) == (400, "context_length_exceeded")


def test_a_reason_of_a_newer_router_is_a_bad_gateway() -> None:
    error = from_reply("failed", {"reason": "gremlins"})

    assert (error.status, error.code) == (502, "gremlins")


def test_the_body_is_an_openai_error() -> None:
    error = ApiError(404, "no such model", code="model_not_found", param="model")

    assert json.loads(error.body()) == {
        "error": {
            "message": "no such model",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (ApiError(429, "", retry_after_s=2.1), {b"retry-after": b"3"}),
        (ApiError(503, "", retry_after_s=0.01), {b"retry-after": b"1"}),
        (ApiError(503, ""), {b"retry-after": b"5"}),
        (ApiError(504, ""), {b"x-should-retry": b"false"}),
        (ApiError(400, ""), {}),
    ],
    ids=["saturated", "soon", "unknown when", "no use repeating", "caller's mistake"],
)
def test_a_client_is_told_when_to_come_back_or_not_to(
    error: ApiError, headers: dict[bytes, bytes]
) -> None:
    assert dict(error.headers()) == headers
