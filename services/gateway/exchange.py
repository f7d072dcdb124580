"""What the gateway needs of the bus: hand a request in, hear what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeGuard

from shared.events.base import Operation, Priority
from shared.events.models import LocalModel

Outcome = Literal["completed", "failed", "rejected", "cancelled"]


def is_outcome(state: str) -> TypeGuard[Outcome]:
    """Whether a request in this state has ended."""
    return state in ("completed", "failed", "rejected", "cancelled")


class StoreFull(Exception):  # noqa: N818 - a state of the store
    """The store takes no new work until what it holds has drained."""


class StoreUnavailable(Exception):  # noqa: N818 - a state of the store
    """The store cannot be reached; whether it took the request is unknown."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A request as it goes onto the bus."""

    id: str
    input: dict[str, Any] | str
    """Body of an OpenAI request, without what only concerns its delivery."""
    operation: Operation | None = None
    task: str | None = None
    priority: Priority | None = None
    model: str | None = None
    """None lets the router choose."""
    dataclass: str | None = None
    deadline_ms: int | None = None
    max_tokens: int | None = None
    input_bytes: int = 0
    chunks: bool = False
    """Relay the answer while it is being made."""
    reply: bool = True
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """A piece of the answer."""

    content: str
    extra: dict[str, Any] | None = None
    """Other keys of an OpenAI delta, such as `tool_calls`."""
    attempt: int = 1
    model: str = ""
    """Who is answering, as far as the exchange knows; the same for all pieces of a reply."""
    node: str = ""


@dataclass(frozen=True, slots=True)
class ReplyFinal:
    """How the request ended: `data` is that of its final event."""

    outcome: Outcome
    data: dict[str, Any]
    complete: bool = True
    """False where pieces of the answer are missing before it."""


class ReplyStream(Protocol):
    """The reply to one request: pieces, if they were asked for, and then how it ended.

    The pieces are a gapless beginning of the answer: after a gap, or where reading started in
    the middle of it, only the final follows, marked as not `complete`. A wait for the next item
    may be cancelled and repeated. The iteration ends after the final, and at once when the stream
    is closed. A final that was missed, or a request that the store lost, is noticed by itself.
    """

    def __aiter__(self) -> "ReplyStream": ...

    async def __anext__(self) -> ReplyDelta | ReplyFinal: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RequestState:
    """What is known about a request."""

    state: str
    """`submitted` until the router admits it, then its record's state, at last its outcome."""
    timestamps_ms: dict[str, int] = field(default_factory=dict)
    """When each stage was reached, in milliseconds since 1970."""
    model: str | None = None
    node: str | None = None
    attempt: int = 0
    deadline_s: float | None = None
    """Time from its admission to its deadline."""
    result: dict[str, Any] | None = None
    """The data of its final event, while that is kept."""


class Exchange(Protocol):
    """The bus, as seen from the HTTP edge."""

    async def submit(self, request: Submission) -> None:
        """Publish the request. Raises `StoreFull` or `StoreUnavailable`."""
        ...

    def open(self, request_id: str, *, chunks: bool) -> ReplyStream:
        """Listen for the reply to a request; called before it is submitted.

        Several streams may be open for one id; those without chunks get the final only.
        """
        ...

    async def cancel(self, request_id: str, reason: str) -> None:
        """Ask for the request to end. Raises `StoreUnavailable`."""
        ...

    async def state(self, request_id: str) -> RequestState | None:
        """What is known about the request; None: nothing. Raises `StoreUnavailable`."""
        ...

    def catalogue(self) -> Sequence[LocalModel]:
        """The models of all live nodes; one that several nodes offer comes several times."""
        ...
