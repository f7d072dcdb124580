"""Events as the scripts publish them, for a trail that cares only for what they tell."""

from typing import Any

import redis.asyncio

from shared.bus.ids import attempt_id, final_id
from shared.bus.keys import Keys
from shared.events.base import Event
from shared.events.inference import (
    FailureReason,
    InferenceAttemptFailed,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRejected,
    Timings,
    Usage,
)

BEGAN_MS = 1_763_712_000_000
STORY = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "task": "chat",
    "priority": "NORMAL",
    "principal": "local",
    "tenant": "local",
    "dataclass": "internal",
    "model": "qwen-7b",
    "operation": "chat",
    "inputbytes": "120",
    "fingerprint": "f" * 40,
    "node": "gpu-1",
    "attempt": "1",
    "route": "resident; gpu-1 has most free slots (2)",
    "inboxentry": f"{BEGAN_MS}-0",
    "receivedms": str(BEGAN_MS),
    "admittedms": str(BEGAN_MS + 2),
    "dispatchedms": str(BEGAN_MS + 10),
    "startedms": str(BEGAN_MS + 12),
    "firstbytems": str(BEGAN_MS + 60),
}


def completed(request: str, **facts: Any) -> InferenceCompleted:
    return InferenceCompleted(
        request_id=request,
        attempt=facts.pop("attempt", 1),
        model="qwen-7b",
        node="gpu-1",
        engine="llama_cpp",
        output={"choices": [{"message": {"content": "Hello."}}]},
        usage=Usage(prompt_tokens=12, completion_tokens=3),
        timings=Timings(queue_ms=10, prefill_ms=30.5, decode_ms=12.25, total_ms=110),
        **facts,
    )


def failed(request: str, attempts: int = 1) -> InferenceFailed:
    return InferenceFailed(
        request_id=request,
        reason=FailureReason.ATTEMPTS_EXHAUSTED,
        message="gave up",
        attempts=attempts,
        last_reason=FailureReason.HUNG,
    )


def rejected(request: str) -> InferenceRejected:
    return InferenceRejected(
        request_id=request, reason=FailureReason.SATURATED, message="too much", retry_after_s=3
    )


def cancelled(request: str, attempts: int = 1) -> InferenceCancelled:
    return InferenceCancelled(request_id=request, message="asked", attempts=attempts)


def attempt_failed(request: str, attempt: int = 1) -> InferenceAttemptFailed:
    return InferenceAttemptFailed(
        request_id=request,
        attempt=attempt,
        node="gpu-2",
        model="qwen-7b",
        reason=FailureReason.HUNG,
        message="no token for 60 s",
    )


def event_id(event: Event, inbox_entry: str) -> str:
    if isinstance(event, InferenceAttemptFailed):
        return attempt_id(event.type, event.request_id, inbox_entry, event.attempt)
    return final_id(event.subject, inbox_entry)


async def publish(client: redis.asyncio.Redis, *events: Event, **story: str) -> None:
    """As a script does, less what it checks."""
    pipeline = client.pipeline(transaction=False)
    for event in events:
        told = {**STORY, "attempt": str(getattr(event, "attempt", 1)), **story}
        fields: Any = {
            **{
                "id": event_id(event, told["inboxentry"]),
                "subject": event.subject,
                "type": event.type,
            },
            **told,
            "data": event.model_dump_json(exclude_none=True),
        }
        pipeline.xadd(Keys().stream(type(event)), fields)
    await pipeline.execute()
