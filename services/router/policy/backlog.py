"""The order of all that waits. Mutable, in the leader's memory, rebuilt from the records."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count, islice

from services.router.policy.assignment import Assignment, Late, why
from services.router.policy.flight import Slot
from services.router.policy.lanes import Choice, Lane, Lanes, best
from services.router.policy.reach import is_open, reach
from services.router.policy.request import Route, Waiting
from services.router.policy.timeline import Entry, Timeline
from services.router.policy.view import Fleet
from shared.config.models import Config
from shared.events.base import Priority

AT_ONCE = 500
"""Requests that are passed over in one go: a turn of the event loop must not take long."""


@dataclass(slots=True)
class Demand:
    """What waits for one model."""

    waiting: dict[Priority, int] = field(default_factory=lambda: dict.fromkeys(Priority, 0))
    oldest_ms: int | None = None
    """When the one that waits longest was admitted."""


class Backlog:
    """Requests that wait, and the decision which of them goes next.

    Of all heads of lanes that could have a free slot, one of the most urgent class goes. So that
    nobody starves, a share of a model's slots goes by age instead: to the head whose wait reaches
    the bound of its class first. Whoever would end too late does not go, and whoever would do so
    probably goes after the others. An assignment costs O(lanes + log n).
    """

    def __init__(self, fleet: Fleet, config: Config) -> None:
        self.lengths: dict[Priority, int] = dict.fromkeys(Priority, 0)
        self._fleet = fleet
        self._bounds_ms = _wait_bounds_ms(config)
        self._arrivals = count()
        self._entries: dict[str, Entry] = {}
        self._lanes = Lanes()
        self._laid_out_for = fleet.offers_version
        self._held = Timeline()
        self._deadlines = Timeline()
        self._expired: list[Waiting] = []
        self._late: list[Late] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Waiting]:
        return (entry.waiting for entry in self._entries.values())

    def __contains__(self, request: str) -> bool:
        return request in self._entries

    def add(self, waiting: Waiting) -> None:
        """Its place follows from its admission, also after a failed attempt.

        Raise `ValueError` where the request waits already.
        """
        if waiting.id in self._entries:
            raise ValueError(f"request {waiting.id} waits already")
        entry = Entry(waiting, next(self._arrivals))
        self._entries[waiting.id] = entry
        self.lengths[waiting.priority] += 1
        self._deadlines.push(waiting.deadline_ms, entry)
        if waiting.not_before_ms > 0:
            self._held.push(waiting.not_before_ms, entry)
            entry.queue = self._held
        else:
            self._line_up(entry)

    def remove(self, request: str) -> Waiting | None:
        """Take the request out; None where it does not wait."""
        entry = self._entries.pop(request, None)
        if entry is None:
            return None
        entry.alive = False
        self.lengths[entry.waiting.priority] -= 1
        self._deadlines.buried()
        if isinstance(entry.queue, Lane):
            self._lanes.left(entry.queue)
        else:
            self._held.buried()
        return entry.waiting

    def expired(self, now_ms: int) -> list[Waiting]:
        """Those whose deadline has come. They wait no longer: whoever asks has to end them."""
        self._advance(now_ms)
        expired, self._expired = self._expired, []
        return expired

    def give_up(self, now_ms: int) -> list[Waiting]:
        """Those whose candidates are all barred. They wait no longer: whoever asks has to end
        them. Where another candidate is left, a request that waited for a barred one moves on,
        also to a fallback.
        """
        if not self._fleet.barred:
            return []
        self._advance(now_ms)
        given_up: list[Waiting] = []
        for lane in [lane for lane in self._lanes if self._is_stranded(lane)]:
            position = self._elsewhere(lane.key.route)
            for entry in list(lane):
                waiting = entry.waiting
                self.remove(waiting.id)
                if position is None:
                    given_up.append(waiting)
                else:
                    self.add(replace(waiting, position=position))
        return given_up

    def late(self, now_ms: int) -> list[Late]:
        """Those whom no candidate could answer before their deadline, as fast as it has been
        lately. They wait no longer: whoever asks has to end them. Where another candidate is left
        a request moves on, also to a fallback. Some hundreds at once, the others the next time.
        """
        self._advance(now_ms)
        for waiting in islice(self._find_late(now_ms), AT_ONCE):
            self._move_on(waiting, now_ms)
        late, self._late = self._late, []
        return late

    def next_assignment(self, now_ms: int) -> Assignment | None:
        """Take the next request out, and take the slot for it. None: nothing that waits can run."""
        self._advance(now_ms)
        for _ in range(AT_ONCE):
            choice = self._choose(now_ms)
            if choice is None:
                break
            waiting, model = choice.entry.waiting, choice.model
            if self._is_doubtful(waiting, model, now_ms):
                self._let_others_first(waiting)
                continue
            for node in self._fleet.best_nodes(model):
                if self._in_time(waiting, Slot(node, model), now_ms):
                    return self._assign(choice, node, now_ms)
            self._move_on(waiting, now_ms)
        return None

    def at_once(self, waiting: Waiting) -> Assignment | None:
        """A slot for one that comes while nobody waits; None, and nothing is kept of it, where it
        has to wait.
        """
        before, now_ms = len(self._late), waiting.admitted_ms
        self.add(waiting)
        assignment = self._where_nothing_runs(now_ms) or self.next_assignment(now_ms)
        if assignment is None:
            self.remove(waiting.id)
            del self._late[before:]
        return assignment

    def _where_nothing_runs(self, now_ms: int) -> Assignment | None:
        """Whatever time is left: what was seen there may have been slowed down by others."""
        choice = self._choose(now_ms)
        if choice is not None:
            for node in self._fleet.best_nodes(choice.model):
                if not self._fleet.flight.on(Slot(node, choice.model)):
                    return self._assign(choice, node, now_ms)
        return None

    def demand(self, now_ms: int) -> dict[str, Demand]:
        """By model, what waits for it; those held back or without any live node are left out."""
        self._advance(now_ms)
        demands: defaultdict[str, Demand] = defaultdict(Demand)
        for lane in self._lanes:
            if lane.reach.active is None:
                continue
            demand = demands[lane.reach.active]
            demand.waiting[lane.key.priority] += len(lane)
            admitted_ms = lane.first[2].waiting.admitted_ms
            if demand.oldest_ms is None or admitted_ms < demand.oldest_ms:
                demand.oldest_ms = admitted_ms
        return dict(demands)

    def _choose(self, now_ms: int) -> Choice | None:
        found = [
            self._lanes.first_for(model, nodes, now_ms)
            for model, nodes in self._fleet.models_with_slots().items()
        ]
        return best([choice for choice in found if choice is not None])

    def _assign(self, choice: Choice, node: str, now_ms: int) -> Assignment:
        waiting, model = choice.entry.waiting, choice.model
        free = self._fleet.free_slots(node, model)
        reason = f"{why(choice)}; {node} has most free slots ({free})"
        self._fleet.start(waiting.id, node, model)
        self._fleet.durations.started(Slot(node, model), waiting.size, now_ms)
        self._lanes.took(model)
        self.remove(waiting.id)
        return Assignment(waiting, model, node, reason)

    def _in_time(self, waiting: Waiting, slot: Slot, now_ms: int) -> bool:
        """Whether it may end there before its deadline."""
        least_ms = self._fleet.durations.least_ms(slot, waiting.size, now_ms)
        return now_ms + least_ms <= waiting.deadline_ms and slot not in waiting.too_slow

    def _is_doubtful(self, waiting: Waiting, model: str, now_ms: int) -> bool:
        """Whether more than half of its time is over, and what is left is probably too short."""
        left_ms = waiting.deadline_ms - now_ms
        if waiting.doubtful or now_ms - waiting.admitted_ms < left_ms:
            return False
        enough_ms = self._fleet.durations.enough_ms
        found = (enough_ms(each, waiting.size, now_ms) for each in self._fleet.offers[model].places)
        return left_ms < min((each_ms for each_ms in found if each_ms), default=0)

    def _let_others_first(self, waiting: Waiting) -> None:
        self.remove(waiting.id)
        self.add(replace(waiting, doubtful=True))

    def _find_late(self, now_ms: int) -> Iterator[Waiting]:
        """Those for whom what they wait for is too slow on every node. Each is to be moved on
        before the next is asked for.
        """
        for lane in list(self._lanes):
            route, model = lane.key.route, lane.reach.active
            if model is not None:
                places = self._fleet.offers[model].places
                while (head := lane.deadlines.head()) is not None:
                    waiting = head[2].waiting
                    if any(self._in_time(waiting, place, now_ms) for place in places):
                        break
                    yield waiting
            elif route.too_slow and self._leads_on(route):
                for entry in list(lane):  # whose faster node is gone
                    yield entry.waiting

    def _leads_on(self, route: Route) -> bool:
        """Whether waiting here is in vain: nothing is left, or something else is offered."""
        position = self._elsewhere(route)
        return position is None or route.candidates[position] in self._fleet.offers

    def _move_on(self, waiting: Waiting, now_ms: int) -> None:
        """Let it wait elsewhere; where it could end in time nowhere it waits no longer."""
        offers = self._fleet.offers
        found = (offers[model].places for model in waiting.candidates if model in offers)
        slow = {
            slot for places in found for slot in places if not self._in_time(waiting, slot, now_ms)
        }
        moved = replace(waiting, too_slow=waiting.too_slow | slow)
        if reach(moved.route, offers).active is None:
            position = self._elsewhere(moved.route)
            if position is None:
                self.remove(waiting.id)
                least_ms, slot = self._fleet.durations.fastest(moved.too_slow, moved.size)
                self._late.append(Late(waiting, waiting.deadline_ms - now_ms, least_ms, slot))
                return
            moved = replace(moved, position=position)
        self.remove(waiting.id)
        self.add(moved)

    def _advance(self, now_ms: int) -> None:
        if self._laid_out_for != self._fleet.offers_version:
            self._laid_out_for = self._fleet.offers_version
            self._lanes.lay_out(self._fleet.offers)
        while (head := self._deadlines.head()) is not None and head[0] <= now_ms:
            self.remove(head[2].waiting.id)
            self._expired.append(head[2].waiting)
        while (entry := self._held.pop_due(now_ms)) is not None:
            self._line_up(entry)

    def _is_stranded(self, lane: Lane) -> bool:
        route = lane.key.route
        wanted = route.candidates[route.position]
        return lane.reach.active is None and wanted in self._fleet.barred

    def _elsewhere(self, route: Route) -> int | None:
        """The next position that is offered, else one whose node may return, else none."""
        after = route.position + 1
        order = (*range(after, len(route.candidates)), *range(after))
        left = [index for index in order if self._may_answer(route.candidates[index], route)]
        offered = (index for index in left if route.candidates[index] in self._fleet.offers)
        return next(offered, left[0] if left else None)

    def _may_answer(self, model: str, route: Route) -> bool:
        """Whether it is worth waiting for, be it for its node to return."""
        if model in self._fleet.offers:
            return is_open(model, route, self._fleet.offers)
        return model not in self._fleet.barred and model not in route.too_small

    def _line_up(self, entry: Entry) -> None:
        waiting = entry.waiting
        overdue_ms = waiting.admitted_ms + self._bounds_ms[waiting.priority]
        self._lanes.add(overdue_ms, entry, self._fleet.offers)


def _wait_bounds_ms(config: Config) -> Mapping[Priority, int]:
    """How long a request of each class may wait before it is overdue."""
    return {
        priority: int(bounds.wait_bound_s * 1000) for priority, bounds in config.priorities.items()
    }
