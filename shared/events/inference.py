"""Events in the life of one inference request, in the order in which they happen."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from shared.events.base import Event, Name, Operation, Priority, RequestId, Value

MAX_REPLY_NAME_LENGTH = 48

MAX_BODY_BYTES = 16 * 1024 * 1024

MOST_TOKENS = 2**31 - 1
"""That an answer may be limited to: engines count in 32 bits."""


class FailureReason(StrEnum):
    """Why an attempt or a request ended without an answer. The gateway maps it to a status."""

    # of a request that was never admitted
    INVALID = "invalid"
    CONFLICT = "conflict"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_TASK = "unknown_task"
    NO_ELIGIBLE_NODE = "no_eligible_node"
    SATURATED = "saturated"
    # of an attempt
    NOT_RESIDENT = "not_resident"
    CONTEXT_EXCEEDED = "context_exceeded"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    HUNG = "hung"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    NODE_LOST = "node_lost"
    WORKER_RESTARTED = "worker_restarted"
    PREEMPTED = "preempted"
    BAD_INPUT = "bad_input"
    # of a request as a whole
    DEADLINE = "deadline"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    AFTER_FIRST_BYTE = "after_first_byte"
    CANCELLED = "cancelled"
    STORE_LOST = "store_lost"

    @property
    def charge(self) -> int:
        """0 where an attempt that ended so counts against nobody, else 1."""
        return 0 if self in UNCHARGED else 1


UNCHARGED = frozenset(
    {FailureReason.NOT_RESIDENT, FailureReason.CONTEXT_EXCEEDED, FailureReason.PREEMPTED}
)
"""Bounded by the deadline instead."""


class InferenceRequested(Event):
    """A program wants an answer. `input` is the body of an OpenAI request.

    Everything but `input` may also be given as an attribute of the entry, and is then taken
    from there. Nothing here names the principal: that is who may write the stream.
    """

    type: ClassVar[str] = "inference.requested.v1"
    subject_field: ClassVar[str] = "task"
    beside: ClassVar[str | None] = "producer"

    input: Annotated[
        dict[str, Any] | str,
        Field(description="`messages`, `prompt` or `input` of an OpenAI request, or plain text"),
    ]
    task: Name | None = None
    priority: Priority | None = None
    model: Name | None = None
    operation: Operation | None = None
    dataclass: Name | None = None
    deadline_ms: Annotated[int, Field(gt=0)] | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None


class InferenceCancelRequested(Event):
    """Somebody no longer wants the answer."""

    type: ClassVar[str] = "inference.cancel_requested.v1"
    subject_field: ClassVar[str] = "request_id"

    request_id: RequestId
    reason: str = "asked"


class InferenceRouted(Event):
    """The router decided where the next attempt runs, and why there."""

    type: ClassVar[str] = "inference.routed.v1"
    subject_field: ClassVar[str] = "request_id"

    request_id: RequestId
    attempt: int
    model: Name
    node: Name
    reason: str
    waited_ms: int


class InferenceDispatched(Event):
    """An attempt for this node's worker. The body stays in the request record."""

    type: ClassVar[str] = "inference.dispatched.v1"
    subject_field: ClassVar[str] = "request_id"
    partition: ClassVar[str | None] = "node"

    request_id: RequestId
    attempt: int
    model: Name


class InferenceStopRequested(Event):
    """The attempt must stop: its request was cancelled, preempted or ran out of time."""

    type: ClassVar[str] = "inference.stop_requested.v1"
    subject_field: ClassVar[str] = "request_id"
    partition: ClassVar[str | None] = "node"

    request_id: RequestId
    attempt: int
    reason: str


class InferenceStarted(Event):
    """A worker took the attempt."""

    type: ClassVar[str] = "inference.started.v1"
    subject_field: ClassVar[str] = "request_id"

    request_id: RequestId
    attempt: int
    node: Name
    model: Name


class InferenceAttemptFailed(Event):
    """One attempt ended without an answer; the router decides what follows."""

    type: ClassVar[str] = "inference.attempt_failed.v1"
    subject_field: ClassVar[str] = "request_id"

    request_id: RequestId
    attempt: int
    node: Name
    model: Name
    reason: FailureReason
    message: str = ""
    charge: Annotated[int, Field(description="0 where the attempt counts against nobody")] = 1
    tokens_needed: int | None = None


class Timings(Value):
    """Where the time went, in milliseconds. A part that nobody measured is absent."""

    queue_ms: int | None = None
    load_ms: int | None = None
    prefill_ms: float | None = None
    decode_ms: float | None = None
    total_ms: int | None = None


class Usage(Value):
    """Tokens as the engine counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class InferenceCompleted(Event):
    """The answer, and all that explains it."""

    type: ClassVar[str] = "inference.completed.v1"
    subject_field: ClassVar[str] = "request_id"

    request_id: RequestId
    attempt: int
    model: Name
    node: Name
    engine: str
    output: Annotated[dict[str, Any], Field(description="the body of an OpenAI response")]
    usage: Usage = Usage()
    timings: Timings = Timings()
    finish_reason: str = "stop"
    cold: bool = False
    degraded: bool = False
    noise: Annotated[bool, Field(description="text of the generated test model: noise")] = False
    model_digest: str | None = None


class InferenceFailed(Event):
    """No answer will come. `retry_after_s` is set where trying again later may help."""

    type: ClassVar[str] = "inference.failed.v1"
    subject_field: ClassVar[str] = "request_id"

    request_id: RequestId
    reason: FailureReason
    message: str
    attempts: int = 0
    last_reason: FailureReason | None = None
    tokens_needed: int | None = None
    retry_after_s: float | None = None


class InferenceRejected(Event):
    """The request was not admitted."""

    type: ClassVar[str] = "inference.rejected.v1"
    subject_field: ClassVar[str] = "request_id"

    request_id: str
    reason: FailureReason
    message: str
    retry_after_s: float | None = None


class InferenceCancelled(Event):
    """Ended because somebody asked for it."""

    type: ClassVar[str] = "inference.cancelled.v1"
    subject_field: ClassVar[str] = "request_id"

    request_id: RequestId
    message: str = ""
    attempts: int = 0


FINALS: tuple[type[Event], ...] = (
    InferenceCompleted,
    InferenceFailed,
    InferenceRejected,
    InferenceCancelled,
)
"""Exactly one of these per request, always with the same id; see `ids.final_id`."""

STORIES: tuple[type[Event], ...] = (*FINALS, InferenceAttemptFailed)
"""Their attributes tell all that is known of the request until then."""
