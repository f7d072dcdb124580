"""A request as the policy knows it: what it asked for, and what became of it while it waits."""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from services.router.policy.flight import Slot
from shared.events.base import Operation, Priority


@dataclass(frozen=True, slots=True)
class RequestAttributes:
    """What the entry of a request says, without its body."""

    model: str | None = None
    task: str | None = None
    operation: Operation | None = None
    priority: Priority | None = None
    deadline_ms: int | None = None
    """A duration, counted from admission."""
    max_tokens: int | None = None
    input_bytes: int = 0


class Size(NamedTuple):
    """How much is asked for, as roughly as durations are told apart by it."""

    operation: str
    input: int
    """The order of magnitude of its bytes."""
    answer: int
    """That of the tokens that the answer may have; 0 where nothing limits them."""


def size_of(operation: str, input_bytes: int, max_tokens: int) -> Size:
    """`max_tokens` 0 is no limit."""
    return _size(operation, _magnitude(input_bytes), _magnitude(max_tokens))


@cache
def _size(*facts: Any) -> Size:
    """One for all alike: a million requests may wait."""
    return Size(*facts)


def _magnitude(number: int) -> int:
    """To base 8: 1 to 7 have 1, 8 to 63 have 2."""
    return (number.bit_length() + 2) // 3


class Route(NamedTuple):
    """Where a request may go. Requests with equal routes can share a lane."""

    candidates: tuple[str, ...]
    """Models, best first."""
    position: int
    """Where in `candidates` the search for the active one begins."""
    too_small: frozenset[str]
    """Candidates whose context is proven too small for this request."""
    too_slow: frozenset[Slot]
    """Where it would no longer end before its deadline."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request's record while it waits. Points in time are Redis time, in milliseconds."""

    id: str
    tenant: str
    priority: Priority
    candidates: tuple[str, ...]
    admitted_ms: int
    deadline_ms: int
    size: Size
    position: int = 0
    not_before_ms: int = 0
    attempt: int = 0
    """Attempts started so far."""
    charged: int = 0
    """Those of them that count against the limit."""
    too_small: frozenset[str] = frozenset()
    too_slow: frozenset[Slot] = frozenset()
    doubtful: bool = False
    """Whether it has waited for so long that it would probably end too late."""

    @property
    def route(self) -> Route:
        return Route(self.candidates, self.position, self.too_small, self.too_slow)
