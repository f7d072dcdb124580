"""Waiting requests in the order of a point in time, from which any may leave."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Optional

from services.router.policy.request import Waiting


@dataclass(slots=True, eq=False)
class Entry:
    """A waiting request's place. It dies with its first departure; who returns gets a new one."""

    waiting: Waiting
    order: int
    """Of arrival: unique, and so a tie between equal times is always broken here."""
    queue: Optional["Timeline"] = None
    """Where it stands, apart from the deadlines: in a lane, or held back."""
    alive: bool = True


Item = tuple[int, int, Entry]
"""Time in milliseconds, order, entry: compares by the first two."""


class Timeline:
    """A heap whose dead stay until they surface or outnumber the living.

    So each entry costs O(log n) over its life, wherever it stood when it left.
    """

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._dead = 0

    def __len__(self) -> int:
        return len(self._items) - self._dead

    def __iter__(self) -> Iterator[Entry]:
        """Those alive, in no order."""
        return (entry for _, _, entry in self._items if entry.alive)

    def push(self, at_ms: int, entry: Entry) -> None:
        heappush(self._items, (at_ms, entry.order, entry))

    def head(self) -> Item | None:
        """The earliest that is alive."""
        while self._items and not self._items[0][2].alive:
            heappop(self._items)
            self._dead -= 1
        return self._items[0] if self._items else None

    def pop_due(self, now_ms: int) -> Entry | None:
        """Take the earliest out, if its time has come."""
        head = self.head()
        if head is None or head[0] > now_ms:
            return None
        return heappop(self._items)[2]

    def buried(self) -> None:
        """One of the entries that stand here has died."""
        self._dead += 1
        if self._dead * 2 > len(self._items):
            self._items = [item for item in self._items if item[2].alive]
            heapify(self._items)
            self._dead = 0
