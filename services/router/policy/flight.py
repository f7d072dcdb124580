"""Attempts in flight. A slot is in use because an attempt holds it, not because a node says so."""

from collections import defaultdict
from collections.abc import Set as AbstractSet
from typing import NamedTuple


class Slot(NamedTuple):
    """A model on a node."""

    node: str
    model: str


class Flight:
    """Which request runs where, from the leader's own records."""

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}
        self._requests: defaultdict[Slot, set[str]] = defaultdict(set)

    def start(self, request: str, slot: Slot) -> None:
        """Raise `ValueError` where the request flies already: one attempt at a time."""
        if request in self._slots:
            raise ValueError(f"request {request} is in flight on {self._slots[request].node}")
        self._slots[request] = slot
        self._requests[slot].add(request)

    def end(self, request: str) -> Slot | None:
        """The slot that is free again; None where the request was not in flight."""
        slot = self._slots.pop(request, None)
        if slot is not None:
            self._requests[slot].discard(request)
            if not self._requests[slot]:
                del self._requests[slot]
        return slot

    def on(self, slot: Slot) -> AbstractSet[str]:
        """The requests that use this slot's model on its node."""
        return self._requests.get(slot, frozenset())
