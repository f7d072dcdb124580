"""A request that is not admitted."""

from dataclasses import dataclass

from shared.events.inference import FailureReason


@dataclass(frozen=True, slots=True)
class Refused:
    reason: FailureReason
    message: str
    """For the caller: what was wrong, and what to do."""
    retry_after_s: float | None = None
    """Where the same request may be admitted later."""
