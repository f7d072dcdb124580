"""What becomes of a notification after an attempt. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

GONE = 410
MAY_SAY_WHEN = (429, 503)
SHORTEST_REST_S, LONGEST_REST_S = 1.0, 24 * 3600.0
FREE_TRIES = 30
"""So often one notification may be asked to come later before that counts as a failure."""
LONGEST_WAIT_S = 70 * 3600.0
"""After that an attempt is the last one: with a day's rest behind it, it is still kept (96 h)."""
JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Answered:
    """The receiver's status; and for how long it wants to be left alone, if it says so."""

    status: int
    duration_ms: int
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """`reason` is one word; `message` is ours, never what the receiver sent."""

    reason: str
    message: str
    duration_ms: int


Outcome = Answered | Unanswered


@dataclass(frozen=True, slots=True)
class Delivered:
    status: int


@dataclass(frozen=True, slots=True)
class Later:
    """The next attempt in `delay_s`; `charge` is 1 where this one counts."""

    delay_s: float
    charge: int
    rest_s: float = 0.0
    """For how long the endpoint hears of nothing at all."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    reason: str
    message: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class SwitchOff:
    """The receiver is gone and says so."""


Verdict = Delivered | Later | GivenUp | SwitchOff


@dataclass(frozen=True, slots=True)
class Past:
    """A notification's attempts before this one: those that count, and all others."""

    failed: int
    free: int
    waited_s: float = 0.0
    """Since it was queued."""


def verdict(outcome: Outcome, past: Past, retry_s: Sequence[float], lot: float) -> Verdict:
    """`retry_s` are the pauses between attempts; `lot`, from 0 to 1, varies them."""
    rest_s = 0.0
    match outcome:
        case Answered(status) if 200 <= status < 300:
            return Delivered(status)
        case Answered(status) if status == GONE:
            return SwitchOff()
        case Answered(status, _, float(wanted_s)) if status in MAY_SAY_WHEN:
            rest_s = min(max(SHORTEST_REST_S, wanted_s), LONGEST_REST_S)
            if past.free < FREE_TRIES and past.waited_s < LONGEST_WAIT_S:
                return Later(rest_s, 0, rest_s)
        case Unanswered("withheld", message):
            return GivenUp("withheld", message)
    if past.failed < len(retry_s) and past.waited_s < LONGEST_WAIT_S:
        pause_s = retry_s[past.failed] * (1 - JITTER + 2 * JITTER * lot)
        return Later(max(pause_s, rest_s), 1, rest_s)
    if isinstance(outcome, Answered):
        return GivenUp("status", f"HTTP {outcome.status}", outcome.status)
    return GivenUp(outcome.reason, outcome.message)


def seconds_of(retry_after: str, now: datetime) -> float | None:
    """What a Retry-After header asks for: seconds, or a date. None for nonsense."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
