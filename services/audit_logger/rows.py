"""What an event tells of a request, as rows of the trail. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from pydantic_core import to_json

from shared.events.base import Event
from shared.events.inference import (
    FailureReason,
    InferenceAttemptFailed,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRejected,
)

Row = dict[str, Any]
"""By column."""


@dataclass(frozen=True, slots=True)
class Story:
    """What the attributes of an event tell of its request. A time that never came is None."""

    attributes: Mapping[str, str]
    ended_ms: int

    def text(self, name: str) -> str | None:
        return _clean(self.attributes.get(name, "")) or None

    @property
    def inbox_entry(self) -> str:
        """Which use of the request's id it is about; "" where an older version admitted it."""
        return self.text("inboxentry") or ""

    def number(self, name: str) -> int | None:
        text = self.attributes.get(name, "")
        return int(text) if text else None

    def at(self, name: str) -> datetime | None:
        milliseconds = self.number(name)
        return None if milliseconds is None else _time(milliseconds)

    @property
    def ended_at(self) -> datetime:
        return _time(self.ended_ms)


@dataclass(frozen=True, slots=True)
class Told:
    """One event's rows."""

    event_id: str
    request: Row | None = None
    attempt: Row | None = None


def told(event_id: str, event: Event, story: Story) -> Told:
    """The rows of a final event, or of one about a failed attempt.

    Raises `ValueError` on another event, and on attributes that are no numbers.
    """
    match event:
        case InferenceCompleted():
            return Told(event_id, _completed(event, story), _completed_attempt(event, story))
        case InferenceFailed():
            request = _request(event.request_id, "failed", event.attempts, story) | _why(event)
            reason = event.last_reason or event.reason
            return Told(event_id, request, _last_attempt(event.request_id, "failed", reason, story))
        case InferenceRejected():
            request = _request(event.request_id, "rejected", 0, story) | _why(event)
            return Told(event_id, request)
        case InferenceCancelled():
            request = _request(event.request_id, "cancelled", event.attempts, story)
            request |= {"message": _clean(event.message)}
            reason = FailureReason.CANCELLED
            attempt = _last_attempt(event.request_id, "cancelled", reason, story)
            return Told(event_id, request, attempt)
        case InferenceAttemptFailed():
            return Told(event_id, attempt=_failed_attempt(event, story))
    raise ValueError(f"{event.type} tells of no request")


def _request(request_id: str, outcome: str, attempts: int, story: Story) -> Row:
    names = ("principal", "tenant", "dataclass", "task", "priority", "operation", "model", "node")
    return {
        "request_id": request_id,
        "inbox_entry": story.inbox_entry,
        "outcome": outcome,
        "attempts": attempts,
        **{name: story.text(name) for name in (*names, "traceparent", "fingerprint")},
        "asked_model": story.text("askedmodel"),
        "input_bytes": story.number("inputbytes"),
        "received_at": story.at("receivedms"),
        "admitted_at": story.at("admittedms"),
        **_stages(story),
        "finished_at": story.ended_at,
        **dict.fromkeys(("cold", "degraded", "noise"), False),
    }


def _stages(story: Story) -> Row:
    """Of the last attempt."""
    return {
        "dispatched_at": story.at("dispatchedms"),
        "started_at": story.at("startedms"),
        "first_byte_at": story.at("firstbytems"),
    }


def _completed(event: InferenceCompleted, story: Story) -> Row:
    return {
        **_request(event.request_id, "completed", event.attempt, story),
        **_answered_by(event),
        **event.timings.model_dump(),
        **event.usage.model_dump(),
        "model_digest": event.model_digest,
        "output_sha256": sha256(to_json(event.output)).hexdigest(),
        "finish_reason": _clean(event.finish_reason),
        "cold": event.cold,
        "degraded": event.degraded,
        "noise": event.noise,
    }


def _answered_by(event: InferenceCompleted) -> Row:
    return {"model": event.model, "node": event.node, "engine": event.engine}


def _why(event: InferenceFailed | InferenceRejected) -> Row:
    return {"reason": event.reason, "message": _clean(event.message)}


def _attempt(request_id: str, attempt: int, outcome: str, story: Story) -> Row:
    return {
        "request_id": request_id,
        "inbox_entry": story.inbox_entry,
        "attempt": attempt,
        "outcome": outcome,
        "model": story.text("model"),
        "node": story.text("node"),
        "route": story.text("route"),
        **_stages(story),
        "ended_at": story.ended_at,
    }


def _completed_attempt(event: InferenceCompleted, story: Story) -> Row:
    return _attempt(event.request_id, event.attempt, "completed", story) | _answered_by(event)


def _last_attempt(request_id: str, outcome: str, reason: FailureReason, story: Story) -> Row | None:
    """The attempt that was under way when the request ended, or failed before that: what is
    reported of its failure, sooner or later, takes the place of this.
    """
    attempt = story.number("attempt")
    if not attempt:
        return None
    return _attempt(request_id, attempt, outcome, story) | {"reason": reason}


def _failed_attempt(event: InferenceAttemptFailed, story: Story) -> Row:
    return {
        **_attempt(event.request_id, event.attempt, "failed", story),
        "model": event.model,
        "node": event.node,
        "reason": event.reason,
        "message": _clean(event.message),
        "charge": event.charge,
        "tokens_needed": event.tokens_needed,
    }


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _clean(text: str) -> str:
    """Postgres has no character of code 0."""
    return text.replace("\0", "\ufffd")
