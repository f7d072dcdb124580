"""What the record of a request holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic_core import from_json

from shared.bus.scripts import Argument
from shared.events.base import Event, Priority
from shared.events.inference import InferenceDispatched, InferenceRejected, InferenceRouted

MAX_VALUE_LENGTH = 63
"""A longer value would turn the whole record into a larger encoding; only models may."""

ROUTER = "router"
WORKER = "inference-worker"


class State(StrEnum):
    WAITING = "waiting"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    RELEASED = "released"
    FINAL = "final"
    CANCELLED_EARLY = "cancelled_early"


@dataclass(frozen=True, slots=True)
class Row:
    """A record as an index shows it. A number that the record lacks is 0, a text ""."""

    request_id: str
    score: float
    """Of its index: when it was admitted, or when its lease ends, in store milliseconds."""
    chain: tuple[str, ...]
    state: str
    priority: Priority
    tenant: str
    model: str
    node: str
    last_reason: str
    operation: str
    attempt: int
    charged: int
    admitted_ms: int
    deadline_ms: int
    not_before_ms: int
    position: int
    first_byte_ms: int
    inputbytes: int
    maxtokens: int


@dataclass(frozen=True, slots=True)
class Admission:
    """What the router decided about an entry of the inbox."""

    request_id: str
    priority: Priority
    task: str
    model: str
    """The model asked for; "" leaves it to the task."""
    asked: str
    """What was asked for, whatever is decided: equal for repetitions of one request."""
    chain: tuple[str, ...]
    deadline_ms: int
    fields: Mapping[str, str]
    """Further values for the record, each under 64 bytes."""
    replyto: str = ""
    dataref: str = ""
    refusal: InferenceRejected | None = None

    def record(self) -> list[str]:
        """All that the record holds of the request itself, as names and values."""
        decided = {"priority": self.priority, "task": self.task, "model": self.model}
        if self.model:
            decided["asked_model"] = self.model  # the other one becomes what is chosen
        return [word for pair in {**self.fields, **decided}.items() for word in pair]


@dataclass(frozen=True, slots=True)
class Sent:
    """Where an attempt goes, and why."""

    routed: InferenceRouted
    position: int
    lease_ms: int

    def arguments(self) -> dict[str, Argument]:
        routed = self.routed
        dispatched = InferenceDispatched(
            request_id=routed.request_id, attempt=routed.attempt, model=routed.model
        )
        return {
            "node": routed.node,
            "model": routed.model,
            "position": self.position,
            "lease_ms": self.lease_ms,
            "route": routed.reason[:MAX_VALUE_LENGTH],
            "routed_data": to_data(routed),
            "dispatched_data": to_data(dispatched),
        }


NOT_SENT: dict[str, Argument] = dict.fromkeys(
    ("node", "model", "position", "lease_ms", "route", "routed_data", "dispatched_data"), ""
)


@dataclass(frozen=True, slots=True)
class Retry:
    """Let the request wait for another attempt, at this position of its chain."""

    position: int
    not_before_ms: int


TEXTS = ("state", "priority", "tenant", "model", "node", "last_reason", "operation")
NUMBERS = (
    "attempt",
    "charged",
    "admitted_ms",
    "deadline_ms",
    "not_before_ms",
    "position",
    "first_byte_ms",
    "inputbytes",
    "maxtokens",
)
ROW_FIELDS = (*TEXTS, *NUMBERS)


def row(request_id: bytes, score: bytes, chain: bytes, values: Sequence[bytes]) -> Row:
    """Build a row from what `page.lua` returns: values in the order of `ROW_FIELDS`."""
    state, priority, tenant, model, node, last_reason, operation = (
        value.decode() for value in values[: len(TEXTS)]
    )
    return Row(
        request_id.decode(),
        float(score),
        tuple(from_json(chain)),
        state,
        Priority(priority or Priority.NORMAL),
        tenant,
        model,
        node,
        last_reason,
        operation,
        *(int(value or 0) for value in values[len(TEXTS) :]),
    )


def to_data(event: Event) -> str:
    return event.model_dump_json(exclude_none=True)
