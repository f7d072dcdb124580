"""Whether a request is let in, and on which terms."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.router.policy.eligibility import eligible
from services.router.policy.refusal import Refused
from services.router.policy.request import RequestAttributes
from services.router.policy.target import find_target
from services.router.policy.throughput import retry_after_s
from services.router.policy.view import Fleet
from shared.config.models import Config
from shared.events.base import Operation, Priority
from shared.events.inference import FailureReason

FULL_MEMORY_FRACTION = 0.8
"""Of the memory of Redis: above this only what is already accepted moves on."""

MEMORY_RETRY_S = 30.0
"""Memory comes back as results are dropped, and a trail catches up: no backlog tells of either."""


@dataclass(frozen=True, slots=True)
class Admitted:
    task: str
    priority: Priority
    operation: Operation
    candidates: tuple[str, ...]
    deadline_ms: int
    """A duration, counted from admission."""
    max_tokens: int | None


@dataclass(frozen=True, slots=True)
class Load:
    """How much is under way already."""

    waiting: Mapping[Priority, int]
    per_second: Mapping[Priority, float] | None
    """Completions; None while unmeasured."""
    memory_fraction: float
    """Share of its memory that Redis uses, 0 to 1."""
    audit_overdue: bool = False
    """The trail must miss nothing, and what it has not written yet fills the store."""


def admit(
    request: RequestAttributes, config: Config, fleet: Fleet, load: Load
) -> Admitted | Refused:
    """Refusals that the caller can do something about come before those that only time cures."""
    target = find_target(request, config, fleet)
    if isinstance(target, Refused):
        return target
    candidates = eligible(target, request.input_bytes, config, fleet)
    if isinstance(candidates, Refused):
        return candidates
    refusal = _endless(request.deadline_ms, config) or _saturated(target.priority, config, load)
    if refusal is not None:
        return refusal
    return Admitted(
        task=target.task,
        priority=target.priority,
        operation=target.operation,
        candidates=candidates,
        deadline_ms=_deadline_ms(request.deadline_ms, target.priority, config),
        max_tokens=request.max_tokens,
    )


def _deadline_ms(asked_ms: int | None, priority: Priority, config: Config) -> int:
    return asked_ms or int(config.priorities[priority].deadline_s * 1000)


def _endless(asked_ms: int | None, config: Config) -> Refused | None:
    """A deadline beyond the longest that any class has."""
    longest_s = max(bounds.deadline_s for bounds in config.priorities.values())
    if asked_ms is None or asked_ms <= longest_s * 1000:
        return None
    message = f"the deadline is {asked_ms / 1000:g} s away; {longest_s:g} s is the longest allowed"
    return Refused(FailureReason.INVALID, message)


def _saturated(priority: Priority, config: Config, load: Load) -> Refused | None:
    limit = config.priorities[priority].backlog
    if load.memory_fraction >= FULL_MEMORY_FRACTION:
        cause = f"the store's memory is {load.memory_fraction:.0%} full"
    elif load.audit_overdue:
        cause = "the audit trail is too far behind, and it must not miss anything (audit: strict)"
    elif load.waiting[priority] >= limit:
        cause = f"{limit} requests of priority {priority} wait already, which is the bound"
    else:
        return None
    wait_s = _drain_s(priority, load)
    if load.memory_fraction >= FULL_MEMORY_FRACTION or load.audit_overdue:
        wait_s = max(wait_s, MEMORY_RETRY_S)
    return Refused(FailureReason.SATURATED, f"{cause}; try again in {wait_s:.0f} s", wait_s)


def _drain_s(priority: Priority, load: Load) -> float:
    """How long those of this class and above take: the others are not ahead of it."""
    classes = list(Priority)  # most urgent first
    ahead = classes[: classes.index(priority) + 1]
    rates = load.per_second
    rate = None if rates is None else sum(rates[one] for one in ahead)
    return retry_after_s(sum(load.waiting[one] for one in ahead), rate)
