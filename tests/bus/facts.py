"""What these tests are about: one request, its answer, and all that may end it."""

from dataclasses import replace

from shared.bus.attempts import Attempt
from shared.bus.records import Retry
from shared.events.inference import (
    FailureReason,
    InferenceAttemptFailed,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRejected,
)

REQUEST, NODE, ELSEWHERE, MODEL, ASKER = "r1", "n1", "n2", "m1", "asker"
BODY = b'{"input":"hello"}'
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LEASE_MS, DEADLINE_MS = 60_000, 600_000
RECORD_FIELDS = {
    "principal": "local",
    "tenant": "local",
    "dataclass": "internal",
    "operation": "chat",
    "replymode": "chunks",
    "traceparent": TRACEPARENT,
    "inputbytes": "17",
    "maxtokens": "",
}

RETRY = Retry(position=1, not_before_ms=0)
GIVE_UP = InferenceFailed(
    request_id=REQUEST, reason=FailureReason.ATTEMPTS_EXHAUSTED, message="none is left", attempts=1
)
OVERDUE = InferenceFailed(
    request_id=REQUEST, reason=FailureReason.DEADLINE, message="its time is over", attempts=1
)
CANCELLED = InferenceCancelled(request_id=REQUEST, message="asked", attempts=1)
REFUSAL = InferenceRejected(
    request_id=REQUEST, reason=FailureReason.SATURATED, message="try later", retry_after_s=2.5
)
COMPLETED = InferenceCompleted(
    request_id=REQUEST,
    attempt=1,
    model=MODEL,
    node=NODE,
    engine="llama_cpp",
    output={"choices": [{"text": "hi"}]},
)


def next_attempt(attempt: Attempt) -> Attempt:
    later = attempt.dispatched.model_copy(update={"attempt": attempt.number + 1})
    return replace(attempt, dispatched=later)


def other_executor(attempt: Attempt) -> Attempt:
    return replace(attempt, executor="worker-9/1-0")


OTHERS = (next_attempt, other_executor)
"""What is not this attempt, although it says so."""


def failure(
    attempt: int = 1, reason: FailureReason = FailureReason.CRASHED, charge: int = 1
) -> InferenceAttemptFailed:
    return InferenceAttemptFailed(
        request_id=REQUEST, attempt=attempt, node=NODE, model=MODEL, reason=reason, charge=charge
    )
