"""Who goes next, with which model, where, and why there."""

from dataclasses import dataclass

from services.router.policy.flight import Slot
from services.router.policy.lanes import Choice
from services.router.policy.request import Waiting


@dataclass(frozen=True, slots=True)
class Assignment:
    """The next attempt: who, with which model, where and why."""

    waiting: Waiting
    model: str
    node: str
    reason: str

    @property
    def attempt(self) -> int:
        return self.waiting.attempt + 1


@dataclass(frozen=True, slots=True)
class Late:
    """One that could end before its deadline nowhere."""

    waiting: Waiting
    left_ms: int
    least_ms: int
    """What it takes at least where it would be ready first."""
    slot: Slot


def why(choice: Choice) -> str:
    """Why this model."""
    route, reach = choice.lane.key.route, choice.lane.reach
    wanted = route.candidates[route.position]
    if choice.preference > 0:
        return f"waited too long for {reach.active or wanted}"
    if too_slow := {slot.model for slot in route.too_slow} - {choice.model}:
        return f"too late for {', '.join(sorted(too_slow))}"
    if choice.model != wanted:
        return f"no live node offers {wanted}"
    return "first choice" if route.position == 0 else "next candidate after a failure"
