"""What follows a failed attempt: another one, somewhere, or the end of the request."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from services.router.policy.reach import reach
from services.router.policy.request import Waiting
from services.router.policy.view import Offer
from shared.config.models import AttemptLimits
from shared.events.inference import FailureReason

FIRST_BACKOFF_MS, LONGEST_BACKOFF_MS = 1_000, 10_000


class Next(Enum):
    """Where to look for the next attempt."""

    SAME = auto()
    """The same position of the chain."""
    OTHER = auto()
    """The candidates after the one that failed, then from the start again."""
    LARGER = auto()
    """The same, but only those with a larger context."""


@dataclass(frozen=True, slots=True)
class Rule:
    next: Next
    backoff: bool = True
    """Whether to wait where the same model may be next, which else would fail at once again."""


RULES: Mapping[FailureReason, Rule] = {
    FailureReason.NOT_RESIDENT: Rule(Next.SAME),
    FailureReason.PREEMPTED: Rule(Next.SAME, backoff=False),
    FailureReason.CONTEXT_EXCEEDED: Rule(Next.LARGER, backoff=False),
    FailureReason.NODE_LOST: Rule(Next.SAME, backoff=False),
    FailureReason.WORKER_RESTARTED: Rule(Next.SAME),
    FailureReason.REFUSED: Rule(Next.OTHER),
    FailureReason.TIMED_OUT: Rule(Next.OTHER),
    FailureReason.HUNG: Rule(Next.OTHER),
    FailureReason.CRASHED: Rule(Next.OTHER),
    FailureReason.OUT_OF_MEMORY: Rule(Next.OTHER),
}
"""What may be tried again; every other reason is final."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    waiting: Waiting
    """The request as it was before this attempt."""
    model: str
    reason: FailureReason
    first_byte_sent: bool = False
    tokens_needed: int | None = None
    """Known exactly where the context was exceeded."""
    message: str = ""
    """What the engine, or whoever noticed the failure, said of it."""

    @property
    def what(self) -> str:
        said = f" ({self.message})" if self.message else ""
        return f"{self.model}: {self.reason}{said}"


@dataclass(frozen=True, slots=True)
class Retry:
    waiting: Waiting
    """The request as it waits now, this attempt counted."""
    charge: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    reason: FailureReason
    message: str
    tokens_needed: int | None = None


def after_failure(
    failed: FailedAttempt,
    offers: Mapping[str, Offer],
    limits: AttemptLimits,
    now_ms: int,
    random: float,
) -> Retry | GiveUp:
    """`random` is in [0, 1)."""
    rule = RULES.get(failed.reason)
    if rule is None:
        return GiveUp(failed.reason, f"{failed.what}, which a retry cannot cure")
    end = _end(failed, limits, now_ms)
    if end is not None:
        return end
    waiting = _moved(failed, rule.next, offers)
    if waiting is None:
        return _context_exceeded(failed, offers)
    waiting = replace(
        waiting,
        attempt=waiting.attempt + 1,
        charged=waiting.charged + failed.reason.charge,
        not_before_ms=0,
        too_slow=frozenset(),
        doubtful=False,
    )
    active, overdue = reach(waiting.route, offers)
    if rule.backoff and failed.model in (active, *overdue):
        delay_ms = backoff_ms(waiting.attempt, random)
        waiting = replace(waiting, not_before_ms=now_ms + delay_ms)
    return Retry(waiting, failed.reason.charge)


def backoff_ms(attempt: int, random: float) -> int:
    """1 s after the first attempt, doubled after each, at most 10 s; less up to a half by chance.

    `attempt` counts from 1; the jitter keeps those that failed together from returning together.
    """
    full_ms = min(FIRST_BACKOFF_MS << (attempt - 1), LONGEST_BACKOFF_MS)
    return int(full_ms * (1 - random / 2))


def _end(failed: FailedAttempt, limits: AttemptLimits, now_ms: int) -> GiveUp | None:
    waiting = failed.waiting
    if failed.first_byte_sent:
        return GiveUp(
            FailureReason.AFTER_FIRST_BYTE,
            f"{failed.what} after part of the answer had been sent",
        )
    if waiting.deadline_ms <= now_ms:
        return GiveUp(FailureReason.DEADLINE, f"{failed.what} at the deadline")
    if waiting.charged + failed.reason.charge >= limits.limit:
        return GiveUp(
            FailureReason.ATTEMPTS_EXHAUSTED,
            f"{limits.limit} attempts failed, the last one on {failed.what}",
        )
    return None


def _moved(failed: FailedAttempt, to: Next, offers: Mapping[str, Offer]) -> Waiting | None:
    """The request at its next position; None where no candidate can be large enough."""
    waiting = failed.waiting
    if to is Next.SAME:
        return waiting
    if to is Next.LARGER:
        waiting = replace(waiting, too_small=waiting.too_small | _too_small(failed, offers))
    candidates = waiting.candidates
    start = candidates.index(failed.model) + 1
    order = (*range(start, len(candidates)), *range(start))
    usable = [index for index in order if candidates[index] not in waiting.too_small]
    if not usable:
        return None
    offered = (index for index in usable if candidates[index] in offers)
    return replace(waiting, position=next(offered, usable[0]))


def _too_small(failed: FailedAttempt, offers: Mapping[str, Offer]) -> set[str]:
    """The model that failed, and all that are known not to hold the input either."""
    needed_tokens = failed.tokens_needed
    if needed_tokens is None:
        offer = offers.get(failed.model)
        needed_tokens = offer.context_tokens + 1 if offer else 0
    smaller = {
        model
        for model in failed.waiting.candidates
        if model in offers and not offers[model].holds(needed_tokens)
    }
    return {failed.model} | smaller


def _context_exceeded(failed: FailedAttempt, offers: Mapping[str, Offer]) -> GiveUp:
    largest = max(
        (offers[model].context_tokens for model in failed.waiting.candidates if model in offers),
        default=0,
    )
    needed = failed.tokens_needed
    if needed is None or needed <= largest:
        message = f"the input exceeds the context of every candidate ({largest} tokens at most)"
    else:
        message = (
            f"the input needs {needed} tokens, and the largest context among its candidates is "
            f"{largest}: {needed - largest} too many"
        )
    return GiveUp(FailureReason.CONTEXT_EXCEEDED, f"{message}; shorten it", needed)
