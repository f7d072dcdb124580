"""Lanes: those who wait for the same model in the same class, for the same tenant, in order."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from operator import attrgetter
from typing import NamedTuple

from services.router.policy.flight import Slot
from services.router.policy.reach import Reach, reach
from services.router.policy.request import Route, Size
from services.router.policy.timeline import Entry, Item, Timeline
from services.router.policy.view import Offer
from shared.events.base import Priority

RANKS = {priority: rank for rank, priority in enumerate(Priority)}
"""0 is the most urgent class."""

AGE = attrgetter("doubtful", "first")
CLASS_AND_AGE = attrgetter("rank", "doubtful", "first")

PATIENT_TURNS = 4
"""Of so many turns of a model one goes by age alone."""


class LaneKey(NamedTuple):
    """Requests that differ in nothing that the choice of a model depends on share a lane."""

    route: Route
    priority: Priority
    tenant: str
    size: Size
    doubtful: bool


class Lane(Timeline):
    """Entries by the end of their class's wait bound: inside a lane, first come, first served."""

    def __init__(self, key: LaneKey) -> None:
        super().__init__()
        self.key = key
        self.rank = RANKS[key.priority]
        self.doubtful = key.doubtful
        self.is_choosy = bool(key.route.too_slow)
        self.reach = Reach(None, ())
        self.deadlines = Timeline()
        """The same entries: of one size, so that who is late first has the first deadline."""
        self.first: Item
        """The head; kept up to date by `Lanes`, which drops a lane that has none."""

    def may_use(self, model: str, nodes: Collection[str]) -> bool:
        """Whether it is too slow for these requests on some of the nodes only, or on none."""
        too_slow = self.key.route.too_slow
        return not too_slow or any(Slot(node, model) not in too_slow for node in nodes)


class Choice(NamedTuple):
    """The head of a lane, and a model that it may take. The smallest goes first."""

    rank: int
    """Of its class; 0 for all where age alone counts."""
    doubtful: bool
    overdue_ms: int
    """When its wait reached the bound of its class."""
    order: int
    preference: int
    """0 is the model that it waits for."""
    model: str
    entry: Entry
    lane: Lane


class Lanes:
    """All lanes that are not empty, found by the models that their heads may take."""

    def __init__(self) -> None:
        self._lanes: dict[LaneKey, Lane] = {}
        self._active: defaultdict[str, set[Lane]] = defaultdict(set)
        self._overdue: defaultdict[str, set[Lane]] = defaultdict(set)
        self._turns: Counter[str] = Counter()
        self._choosy = 0
        """Lanes for which some nodes are too slow."""

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def add(self, overdue_ms: int, entry: Entry, offers: Mapping[str, Offer]) -> None:
        waiting = entry.waiting
        key = LaneKey(
            waiting.route, waiting.priority, waiting.tenant, waiting.size, waiting.doubtful
        )
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key)
            self._choosy += lane.is_choosy
            self._index(lane, offers)
        lane.push(overdue_ms, entry)
        lane.deadlines.push(waiting.deadline_ms, entry)
        entry.queue = lane
        self._refresh(lane)

    def left(self, lane: Lane) -> None:
        """An entry of this lane has died."""
        lane.buried()
        lane.deadlines.buried()
        self._refresh(lane)

    def lay_out(self, offers: Mapping[str, Offer]) -> None:
        """What is offered has changed: O(lanes), for the entries stay where they are."""
        self._active.clear()
        self._overdue.clear()
        for lane in self._lanes.values():
            self._index(lane, offers)

    def first_for(self, model: str, nodes: Collection[str], now_ms: int) -> Choice | None:
        """Who should get a slot of this model that is free on one of the nodes: of the most urgent
        class that waits for it, or, when it is the turn of the patient, of all, the head that is
        overdue first.
        """
        active: Collection[Lane] = self._active.get(model, ())
        late = [lane for lane in self._overdue.get(model, ()) if lane.first[0] <= now_ms]
        if self._choosy:
            active = [lane for lane in active if lane.may_use(model, nodes)]
            late = [lane for lane in late if lane.may_use(model, nodes)]
        if not active and not late:
            return None
        by_age = self._turns[model] % PATIENT_TURNS == PATIENT_TURNS - 1
        found = [_choice(lanes, model, by_age=by_age) for lanes in (active, late) if lanes]
        return min(found)

    def took(self, model: str) -> None:
        """A slot of this model was given away."""
        self._turns[model] += 1

    def _refresh(self, lane: Lane) -> None:
        head = lane.head()
        if head is not None:
            lane.first = head
            return
        del self._lanes[lane.key]
        self._choosy -= lane.is_choosy
        self._unindex(lane)

    def _index(self, lane: Lane, offers: Mapping[str, Offer]) -> None:
        lane.reach = reach(lane.key.route, offers)
        if lane.reach.active is not None:
            self._active[lane.reach.active].add(lane)
        for model in lane.reach.overdue:
            self._overdue[model].add(lane)

    def _unindex(self, lane: Lane) -> None:
        if lane.reach.active is not None:
            self._active[lane.reach.active].discard(lane)
        for model in lane.reach.overdue:
            self._overdue[model].discard(lane)


def best(choices: Collection[Choice]) -> Choice | None:
    """Who goes first; where several models are free for it, with the one that it prefers."""
    first = min(choices, default=None)
    if first is None:
        return None
    return min(
        (each for each in choices if each.entry is first.entry), key=attrgetter("preference")
    )


def _choice(lanes: Collection[Lane], model: str, *, by_age: bool) -> Choice:
    lane = min(lanes, key=AGE if by_age else CLASS_AND_AGE)
    overdue_ms, order, entry = lane.first
    preference = 0 if model == lane.reach.active else 1 + lane.reach.overdue.index(model)
    rank = 0 if by_age else lane.rank
    return Choice(rank, lane.doubtful, overdue_ms, order, preference, model, entry, lane)
