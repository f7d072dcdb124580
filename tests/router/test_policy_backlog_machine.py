"""Random histories of the backlog, beside a model of it that is slow and plainly right."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.router.policy.backlog import Backlog
from services.router.policy.failover import RULES, FailedAttempt, Retry, after_failure
from services.router.policy.request import Waiting
from services.router.policy.view import Fleet, Node
from shared.config.models import Config
from shared.events.base import Priority
from shared.events.inference import FailureReason
from shared.events.models import ModelState
from tests.fakes.world import law, node, resident, waiting

MODELS = ["qwen", "llama", "tiny", "heuristic:tickets"]
CHAINS = [["qwen"], ["qwen", "llama"], ["llama", "tiny", "qwen"], MODELS]
"""Few, so that lanes hold several requests."""
BOUNDS_S = {Priority.CRITICAL: 1, Priority.HIGH: 2, Priority.NORMAL: 4, Priority.LOW: 8}
CONFIG = Config.model_validate(
    {"priorities": {priority: {"wait_bound_s": float(s)} for priority, s in BOUNDS_S.items()}}
)


@dataclass
class Place:
    waiting: Waiting
    arrival: int

    @property
    def overdue_ms(self) -> int:
        return self.waiting.admitted_ms + BOUNDS_S[self.waiting.priority] * 1000


class Model:
    """The rules of the order, each applied to every request whenever it is asked."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.places: dict[str, Place] = {}
        self.flying: dict[str, tuple[Waiting, str, str]] = {}
        self.arrivals = 0
        self.turns: Counter[str] = Counter()

    def add(self, record: Waiting) -> None:
        self.arrivals += 1
        self.places[record.id] = Place(record, self.arrivals)

    def expire(self, now_ms: int) -> set[str]:
        late = {i for i, place in self.places.items() if place.waiting.deadline_ms <= now_ms}
        for request in late:
            del self.places[request]
        return late

    def free(self, name: str, model: str) -> int:
        used = [1 for _, n, m in self.flying.values() if (n, m) == (name, model)]
        return max(0, self.nodes[name].slots(model) - len(used))

    def fallback(self, model: str) -> bool | None:
        """None where no live node offers the model."""
        found = [
            n.inventory[model] for n in self.nodes.values() if n.alive and model in n.inventory
        ]
        return any(one.noise or one.degraded for one in found) if found else None

    def active(self, record: Waiting) -> str | None:
        chain, start = record.candidates, record.position
        for model in chain[start:] + chain[:start]:
            fallback = self.fallback(model)
            if fallback is None or model in record.too_small:
                continue
            if not fallback or model == chain[start]:
                return model
        return None

    def choices(self, place: Place, now_ms: int) -> list[str]:
        record = place.waiting
        active = self.active(record)
        chosen = [active] if active else []
        if place.overdue_ms <= now_ms:
            later = (
                record.candidates if active is None else record.candidates[record.position + 1 :]
            )
            chosen += [
                m
                for m in later
                if m != active and m not in record.too_small and self.fallback(m) is not None
            ]
        return chosen

    def next(self, now_ms: int) -> tuple[str, str, str] | None:
        best: dict[str, tuple[Any, ...]] = {}
        for place in self.places.values():
            if place.waiting.not_before_ms > now_ms:
                continue
            for preference, model in enumerate(self.choices(place, now_ms)):
                free = {name: self.free(name, model) for name in self.nodes}
                if not any(free.values()):
                    continue
                name = min(free, key=lambda name: (-free[name], name))
                rank = (
                    0 if self.turns[model] % 4 == 3 else [*Priority].index(place.waiting.priority)
                )
                who = (rank, place.overdue_ms, place.arrival, preference)
                key = (*who, place.waiting.id, model, name)
                best[model] = min(best.get(model, key), key)
        if not best:
            return None
        request = min(best.values())[4]
        return min(key[3:] for key in best.values() if key[4] == request)[1:]

    def demand(self, now_ms: int) -> dict[str, int]:
        counts: dict[str, int] = {}
        for place in self.places.values():
            model = self.active(place.waiting)
            if model is not None and place.waiting.not_before_ms <= now_ms:
                counts[model] = counts.get(model, 0) + 1
        return counts


class BacklogHistory(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.fleet = Fleet()
        self.backlog = Backlog(self.fleet, CONFIG)
        self.model = Model()
        self.now_ms = 1_000
        self.requests = 0

    @rule(
        chain=st.sampled_from(CHAINS),
        priority=st.sampled_from(Priority),
        tenant=st.sampled_from(["x", "x", "x", "y"]),
        age_ms=st.integers(0, 1_000),
        patience_ms=st.integers(1, 10_000),
        delay_ms=st.sampled_from([0, 0, 500, 3_000]),
    )
    def add(
        self,
        chain: list[str],
        priority: Priority,
        tenant: str,
        age_ms: int,
        patience_ms: int,
        delay_ms: int,
    ) -> None:
        self.requests += 1
        record = waiting(
            f"r{self.requests}",
            *chain,
            priority=priority,
            tenant=tenant,
            admitted_ms=self.now_ms - age_ms,
            deadline_ms=self.now_ms + patience_ms,
            not_before_ms=self.now_ms + delay_ms if delay_ms else 0,
        )
        self.backlog.add(record)
        self.model.add(record)

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request = f"r{data.draw(st.integers(1, self.requests))}"
        place = self.model.places.pop(request, None)
        assert self.backlog.remove(request) == (place.waiting if place else None)

    @rule(passed_ms=st.sampled_from([1, 100, 1_000, 4_000]))
    def time_passes(self, passed_ms: int) -> None:
        self.now_ms += passed_ms
        late = self.model.expire(self.now_ms)
        assert {record.id for record in self.backlog.expired(self.now_ms)} == late

    @rule()
    def assign(self) -> None:
        expected = self.model.next(self.now_ms)
        assignment = self.backlog.next_assignment(self.now_ms)
        if assignment is None:
            assert expected is None
            return
        record = assignment.waiting
        assert (record.id, assignment.model, assignment.node) == expected
        assert self.model.places.pop(record.id).waiting == record
        self.model.flying[record.id] = (record, assignment.node, assignment.model)
        self.model.turns[assignment.model] += 1

    @rule()
    def assign_all(self) -> None:
        while self.model.next(self.now_ms) is not None:
            self.assign()

    @precondition(lambda self: self.model.flying)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(sorted(self.model.flying)))
        del self.model.flying[request]
        self.fleet.end(request)

    @precondition(lambda self: self.model.flying)
    @rule(data=st.data(), reason=st.sampled_from(list(RULES)))
    def fail(self, data: st.DataObject, reason: FailureReason) -> None:
        request = data.draw(st.sampled_from(sorted(self.model.flying)))
        record, _, model = self.model.flying.pop(request)
        self.fleet.end(request)
        failed = FailedAttempt(record, model, reason)
        answer = after_failure(failed, self.fleet.offers, CONFIG.attempts, self.now_ms, 0.5)
        if isinstance(answer, Retry):
            self.backlog.add(answer.waiting)
            self.model.add(answer.waiting)

    @rule(
        name=st.sampled_from("abc"),
        inventory=st.lists(st.sampled_from(MODELS), unique=True),
        ready=st.dictionaries(st.sampled_from(MODELS[:3]), st.integers(1, 3)),
        state=st.sampled_from([ModelState.READY, ModelState.READY, ModelState.DRAINING]),
        settled=st.sampled_from([True, True, True, False]),
    )
    def hear(
        self,
        name: str,
        inventory: list[str],
        ready: dict[str, int],
        state: ModelState,
        settled: bool,
    ) -> None:
        profiles = [resident(model, slots=slots, state=state) for model, slots in ready.items()]
        self.model.nodes[name] = node(name, inventory, profiles, settled=settled)
        self.fleet.put(self.model.nodes[name])

    @rule(name=st.sampled_from("abc"))
    def lose(self, name: str) -> None:
        self.fleet.lose(name)
        if name in self.model.nodes:
            self.model.nodes[name] = self.fleet.nodes[name]

    @invariant()
    def the_same_requests_wait(self) -> None:
        records = {request: place.waiting for request, place in self.model.places.items()}
        assert {record.id: record for record in self.backlog} == records
        waiting_by_class = [record.priority for record in records.values()]
        assert self.backlog.lengths == {p: waiting_by_class.count(p) for p in Priority}

    @invariant()
    def the_same_slots_are_free(self) -> None:
        for name in self.model.nodes:
            for model in MODELS:
                assert self.fleet.free_slots(name, model) == self.model.free(name, model)

    @invariant()
    def the_same_demand_is_seen(self) -> None:
        demand = self.backlog.demand(self.now_ms)
        counts = {model: sum(one.waiting.values()) for model, one in demand.items()}
        assert counts == self.model.demand(self.now_ms)


BacklogHistory.TestCase.settings = settings(law, max_examples=100, stateful_step_count=40)
TestBacklogHistory = BacklogHistory.TestCase
