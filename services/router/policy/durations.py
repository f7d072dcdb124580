"""How long requests take once they are dispatched, as far as their completions have shown."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from services.router.policy.flight import Slot
from services.router.policy.request import Size

SEEN = 20
"""Durations that an estimate is the shortest of. Where nothing has changed the next one is shorter
still with a chance of 1 in 21, whatever they are distributed like."""

FRESH_MS = 30_000
FRESH_TIMES = 10
"""An estimate that no completion has confirmed for so long, or for so many times of itself, is
tried: the next request goes whatever time it has left."""


@dataclass(slots=True)
class Seen:
    """What is known of one kind of requests in one place."""

    last_ms: deque[int] = field(default_factory=lambda: deque(maxlen=SEEN))
    least_ms: int = 0
    fresh_since_ms: int = 0

    def add(self, took_ms: int, now_ms: int) -> None:
        self.last_ms.append(took_ms)
        if len(self.last_ms) == SEEN:
            self.least_ms = max(0, min(self.last_ms))
        self.fresh_since_ms = now_ms

    def is_fresh(self, now_ms: int) -> bool:
        return now_ms - self.fresh_since_ms < max(FRESH_MS, FRESH_TIMES * self.least_ms)


class Durations:
    """For each size of request, model and node: the shortest of the last durations.

    Knowing nothing, or nothing fresh, is an estimate of 0. Each update costs O(1).
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[Slot, Size], Seen] = {}

    def completed(self, slot: Slot, size: Size, took_ms: int, now_ms: int) -> None:
        """A request was answered so long after it was dispatched."""
        seen = self._seen.get((slot, size))
        if seen is None:
            seen = self._seen[slot, size] = Seen()
        seen.add(took_ms, now_ms)

    def started(self, slot: Slot, size: Size, now_ms: int) -> None:
        """A request goes there: where the estimate is not fresh, it is the one that tries it."""
        seen = self._seen.get((slot, size))
        if seen is not None and not seen.is_fresh(now_ms):
            seen.fresh_since_ms = now_ms

    def least_ms(self, slot: Slot, size: Size, now_ms: int) -> int:
        """What a request takes there at least; 0 where that is not known."""
        seen = self._seen.get((slot, size))
        return seen.least_ms if seen is not None and seen.is_fresh(now_ms) else 0

    def fastest(self, slots: Collection[Slot], size: Size) -> tuple[int, Slot]:
        """The smallest estimate of these that there is, fresh or not, and where."""
        return min((self._seen[slot, size].least_ms, slot) for slot in slots)
