"""How long requests take once they are dispatched, as far as their completions have shown."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from services.router.policy.flight import Slot
from services.router.policy.request import Size

SEEN = 20
"""Durations that are remembered. Where nothing has changed the next one is shorter than all of
them with a chance of 1 in 21, whatever they are distributed like."""

ENOUGH = 18
"""So many of them ended in what is called enough: nine of ten."""

FRESH_MS = 30_000
FRESH_TIMES = 10
"""An estimate that no completion has confirmed for so long, or for so many times of itself, is
tried: the next request goes whatever time it has left."""


@dataclass(slots=True)
class Seen:
    """What is known of one kind of requests in one place. In milliseconds."""

    completions: deque[int] = field(default_factory=lambda: deque(maxlen=SEEN))
    attempts: deque[int] = field(default_factory=lambda: deque(maxlen=SEEN))
    """The completions, and what those would have needed that their deadline ended."""
    least_ms: int = 0
    fresh_since_ms: int = 0

    @property
    def enough_ms(self) -> int:
        return sorted(self.attempts)[ENOUGH - 1] if len(self.attempts) == SEEN else 0

    def completed(self, took_ms: int, now_ms: int) -> None:
        self.completions.append(took_ms)
        if len(self.completions) == SEEN:
            self.least_ms = min(self.completions)
        self.needed(took_ms, now_ms)

    def needed(self, needed_ms: int, now_ms: int) -> None:
        self.attempts.append(needed_ms)
        self.fresh_since_ms = now_ms

    def is_fresh(self, now_ms: int) -> bool:
        return now_ms - self.fresh_since_ms < max(FRESH_MS, FRESH_TIMES * self.least_ms)


class Durations:
    """For each size of request, model and node: how long the last ones took.

    Knowing nothing, or nothing fresh, is an estimate of 0. Each update costs O(1).
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[Slot, Size], Seen] = {}

    def completed(self, slot: Slot, size: Size, took_ms: int, now_ms: int) -> None:
        """A request was answered so long after it was dispatched."""
        self._of(slot, size).completed(max(0, took_ms), now_ms)

    def outlasted(self, slot: Slot, size: Size, lasted_ms: int, now_ms: int) -> None:
        """A request was unanswered so long after it was dispatched, when its deadline came.

        How much longer it would have taken nobody knows; as long again is assumed. Else all might
        begin a little too late for an engine that has become slower, and none ever show it.
        """
        seen = self._of(slot, size)
        if 2 * lasted_ms > seen.enough_ms:
            seen.needed(2 * lasted_ms, now_ms)

    def started(self, slot: Slot, size: Size, now_ms: int) -> None:
        """A request goes there: where the estimate is not fresh, it is the one that tries it."""
        seen = self._seen.get((slot, size))
        if seen is not None and not seen.is_fresh(now_ms):
            seen.fresh_since_ms = now_ms

    def least_ms(self, slot: Slot, size: Size, now_ms: int) -> int:
        """What a request takes there at least; 0 where that is not known."""
        seen = self._seen.get((slot, size))
        return seen.least_ms if seen is not None and seen.is_fresh(now_ms) else 0

    def enough_ms(self, slot: Slot, size: Size, now_ms: int) -> int:
        """In what nine of ten requests end there; 0 where that is not known."""
        seen = self._seen.get((slot, size))
        return seen.enough_ms if seen is not None and seen.is_fresh(now_ms) else 0

    def fastest(self, slots: Collection[Slot], size: Size) -> tuple[int, Slot]:
        """The smallest estimate of these that there is, fresh or not, and where."""
        return min((self._seen[slot, size].least_ms, slot) for slot in slots)

    def _of(self, slot: Slot, size: Size) -> Seen:
        seen = self._seen.get((slot, size))
        if seen is None:
            seen = self._seen[slot, size] = Seen()
        return seen
