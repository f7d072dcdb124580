"""How fast requests leave, and when it is worth asking again."""

from collections import deque

from shared.events.base import Priority

WINDOW_S = 60
SHORTEST_RETRY_S, LONGEST_RETRY_S = 1.0, 300.0


class Throughput:
    """Completions over the last minute, in buckets of a second."""

    def __init__(self, started_ms: int) -> None:
        self._started_ms = started_ms
        self._buckets: deque[tuple[int, dict[Priority, int]]] = deque()
        self._totals = dict.fromkeys(Priority, 0)

    def completed(self, priority: Priority, now_ms: int) -> None:
        """One request of this class left. A clock that stepped back counts into the last second."""
        self._forget(now_ms)
        second = now_ms // 1000
        if not self._buckets or self._buckets[-1][0] < second:
            self._buckets.append((second, dict.fromkeys(Priority, 0)))
        self._buckets[-1][1][priority] += 1
        self._totals[priority] += 1

    def per_second(self, now_ms: int) -> dict[Priority, float] | None:
        """Completions per second by class.

        None while unmeasured: nothing was completed, and a whole minute is not over yet.
        """
        self._forget(now_ms)
        observed_s = min(max((now_ms - self._started_ms) / 1000, 1.0), float(WINDOW_S))
        if observed_s < WINDOW_S and not any(self._totals.values()):
            return None
        return {priority: count / observed_s for priority, count in self._totals.items()}

    def _forget(self, now_ms: int) -> None:
        while self._buckets and self._buckets[0][0] <= now_ms // 1000 - WINDOW_S:
            for priority, count in self._buckets.popleft()[1].items():
                self._totals[priority] -= count


def retry_after_s(backlog_ahead: int, per_second: float | None) -> float:
    """Seconds until those ahead are served, between 1 and 300.

    `per_second` None is unmeasured: one window, after which there is a rate.
    """
    if per_second is None:
        return float(WINDOW_S)
    if per_second <= 0:
        return LONGEST_RETRY_S
    return min(max(backlog_ahead / per_second, SHORTEST_RETRY_S), LONGEST_RETRY_S)
