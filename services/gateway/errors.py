"""Refusals as an OpenAI client understands them."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from shared.events.inference import FailureReason

CLIENT_CLOSED_REQUEST = 499

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    408: "timeout_error",
    429: "rate_limit_error",
    CLIENT_CLOSED_REQUEST: "cancelled",
    504: "timeout_error",
}

_NO_USE_REPEATING = frozenset({409, CLIENT_CLOSED_REQUEST, 502, 504})
"""Failures that the router has already retried, or that a repetition would only meet again."""

_DEFAULT_RETRY_AFTER_S = 5.0


class ApiError(Exception):
    """An answer that is not what was asked for: `{"error": {...}}` with its HTTP status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    def detail(self) -> dict[str, str | None]:
        kind = _TYPES.get(self.status)
        if kind is None:
            kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"message": self.message, "type": kind, "param": self.param, "code": self.code}

    def body(self) -> bytes:
        return to_json({"error": self.detail()})

    def headers(self) -> list[tuple[bytes, bytes]]:
        headers = []
        if self.status in (429, 503):
            seconds = self.retry_after_s or _DEFAULT_RETRY_AFTER_S
            headers.append((b"retry-after", b"%d" % max(1, math.ceil(seconds))))
        if self.status in _NO_USE_REPEATING:
            headers.append((b"x-should-retry", b"false"))
        return headers


_ANSWERS: Mapping[str, tuple[int, str]] = {
    FailureReason.INVALID: (400, "invalid_request"),
    FailureReason.BAD_INPUT: (400, "invalid_request"),
    FailureReason.CONTEXT_EXCEEDED: (400, "context_length_exceeded"),
    FailureReason.CONFLICT: (409, "idempotency_conflict"),
    FailureReason.UNKNOWN_MODEL: (404, "model_not_found"),
    FailureReason.UNKNOWN_TASK: (404, "task_not_found"),
    FailureReason.SATURATED: (429, "saturated"),
    FailureReason.NO_ELIGIBLE_NODE: (503, "no_eligible_node"),
    FailureReason.NOT_RESIDENT: (503, "not_resident"),
    FailureReason.NODE_LOST: (503, "node_lost"),
    FailureReason.WORKER_RESTARTED: (503, "worker_restarted"),
    FailureReason.PREEMPTED: (503, "preempted"),
    FailureReason.STORE_LOST: (503, "store_lost"),
    FailureReason.DEADLINE: (504, "deadline_exceeded"),
    FailureReason.CANCELLED: (CLIENT_CLOSED_REQUEST, "cancelled"),
}
"""Status and code by reason. What is missing is an engine's failure: 502 and the reason itself."""

_PARAMS: Mapping[str, str] = {
    FailureReason.UNKNOWN_MODEL: "model",
    FailureReason.UNKNOWN_TASK: "task",
    FailureReason.CONTEXT_EXCEEDED: "messages",
}


def from_reply(outcome: str, data: Mapping[str, Any]) -> ApiError:
    """The error that a final event other than `completed` stands for."""
    reason = FailureReason.CANCELLED if outcome == "cancelled" else data.get("reason", "")
    if reason == FailureReason.ATTEMPTS_EXHAUSTED and data.get("last_reason"):
        reason = data["last_reason"]
    status, code = _ANSWERS.get(reason, (502, str(reason) or "failed"))
    return ApiError(
        status,
        data.get("message") or f"The request was {outcome}: {code}.",
        code=code,
        param=_PARAMS.get(reason),
        retry_after_s=data.get("retry_after_s"),
    )


def refusal(reason: FailureReason, message: str) -> ApiError:
    """The error for what the gateway itself refuses, with the status the router's would have."""
    return from_reply("rejected", {"reason": reason, "message": message})


def store_unavailable() -> ApiError:
    return ApiError(503, "The store cannot be reached at the moment.", code="store_unavailable")
