"""Random calls of random actors, two leaders among them, against a small model of the record."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, TypeVar

import pytest
import redis.asyncio
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from shared.bus.attempts import Piece
from shared.bus.envelope import Entry
from shared.bus.keys import Keys
from shared.bus.requests import FencedError
from shared.events.base import Priority
from shared.events.inference import InferenceDispatched
from tests.bus import invariants
from tests.bus.crowd import LEASE_MS, Crowd
from tests.bus.model import FLYING, ModelRequest
from tests.bus.stored import Stored, read
from tests.servers import Store

if TYPE_CHECKING:
    from shared.bus.attempts import Attempt

BOUNDED = settings(
    max_examples=45,
    stateful_step_count=50,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes
)

T = TypeVar("T")

NAMES = ("a", "b", "c")
PRIORITIES = st.sampled_from([Priority.NORMAL, Priority.HIGH])
ACTIONS = {
    **{"goes_on": 9, "is_admitted": 2, "is_admitted_again": 1, "is_dispatched": 1},
    **{"is_started": 2, "beats": 1, "emits": 3, "finishes": 1, "is_abandoned": 1},
    **{"is_settled": 2, "is_ended": 3, "is_preempted": 2, "moves": 1},
    **{"lease_ends": 1, "deadline_comes": 1, "takes_over": 1, "is_fenced": 1},
}
"""How often each is drawn. As rules of their own, half of them would be switched off in most
runs, and with them everything that comes after."""


@dataclass(frozen=True)
class Chance:
    """What a step draws: whom it is about, and how it goes."""

    at: str
    recent: int
    """Which of the last commands, attempts or entries, counted from the end."""
    off: int
    """How far the attempt that is meant is from the one that it should be."""
    node: str
    instance: str
    asker: str
    content: str
    priority: Priority
    other_priority: Priority
    maybe: bool
    rarely: bool


CHANCES = st.builds(
    Chance,
    at=st.sampled_from(NAMES),
    recent=st.integers(0, 3),
    off=st.sampled_from([0, 0, 0, 1]),
    node=st.sampled_from(["n1", "n2"]),
    instance=st.sampled_from(["w1", "w12"]),
    asker=st.sampled_from(["x", "y", ""]),
    content=st.sampled_from("AAB"),
    priority=PRIORITIES,
    other_priority=PRIORITIES,
    maybe=st.booleans(),
    rarely=st.sampled_from([False] * 5 + [True]),
)


@dataclass(frozen=True)
class Command:
    """A dispatched attempt, as its node's worker read it."""

    request_id: str
    attempt: int
    node: str
    entry: Entry

    @property
    def event(self) -> InferenceDispatched:
        return InferenceDispatched(request_id=self.request_id, attempt=self.attempt, model="m1")


class RequestMachine(RuleBasedStateMachine):
    """Each step calls one script and compares its answer with the model's."""

    url: ClassVar[str]
    """Of the store that it may empty."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._keys = Keys()
        self._client = redis.asyncio.Redis.from_url(self.url, protocol=2)
        self._run(self._client.flushall())
        self._crowd = Crowd(self._client, self._keys)
        self._run(self._crowd.take_over())
        self._model = {each: ModelRequest() for each in NAMES}
        self._entries: list[Entry] = []
        self._commands: list[Command] = []
        self._attempts: list[Attempt] = []

    def teardown(self) -> None:
        self._run(self._crowd.close())
        self._run(self._client.aclose())
        self._runner.close()

    @rule(action=st.sampled_from([*Counter(ACTIONS).elements()]), chance=CHANCES)
    def a_request(self, action: str, chance: Chance) -> None:
        getattr(self, action)(chance, self._model[chance.at])

    def goes_on(self, chance: Chance, model: ModelRequest) -> None:
        """The next step of a life in which everything fails and is tried again."""
        plain = replace(chance, off=0, rarely=False, maybe=False)
        match model.state:
            case "none":
                self.is_admitted(chance, model)
            case "waiting":
                self.is_dispatched(plain, model)
            case "dispatched":
                last = [each.request_id for each in reversed(self._commands)].index(chance.at)
                self.is_started(replace(plain, recent=last), model)
            case "running":
                last = [each.request_id for each in reversed(self._attempts)].index(chance.at)
                self.finishes(replace(plain, recent=last), model)
            case "released":
                self.is_settled(replace(plain, rarely=chance.maybe and model.first_byte), model)

    # --- leaders -------------------------------------------------------------------------------

    def takes_over(self, chance: Chance, model: ModelRequest) -> None:
        self._run(self._crowd.take_over())

    def is_fenced(self, chance: Chance, model: ModelRequest) -> None:
        for entry in self._entries[-1:]:
            for call in self._crowd.calls_of_the_fenced_leader(chance.at, entry):
                with pytest.raises(FencedError):
                    self._run(call)

    def is_admitted(self, chance: Chance, model: ModelRequest) -> None:
        entry = self._run(self._crowd.ask(chance.at, chance.content, chance.asker))
        self._entries.append(entry)
        expected = model.admit(chance.content, chance.asker, chance.priority)
        assert self._run(self._crowd.admit(entry, chance.priority)) == expected

    def is_admitted_again(self, chance: Chance, model: ModelRequest) -> None:
        for entry in _recent(self._entries, chance):
            assert self._run(self._crowd.admit(entry, chance.priority)) == "duplicate"

    def is_dispatched(self, chance: Chance, model: ModelRequest) -> None:
        attempt, priority = model.attempt + 1 - chance.off, model.priority
        waited = model.state == "waiting"
        expected = model.dispatch(attempt, chance.node)
        answer = self._run(self._crowd.dispatch(chance.at, attempt, chance.node, priority))
        assert answer == expected
        if waited and answer == "ok":
            entry = self._run(self._crowd.read_command(chance.node))
            self._commands.append(Command(chance.at, attempt, chance.node, entry))

    def is_settled(self, chance: Chance, model: ModelRequest) -> None:
        about = (chance.at, model.attempt + chance.off, model.node, model.priority)
        retry, lost = not chance.rarely, chance.maybe
        expected = model.settle(about[1], retry=retry, node_lost=lost)
        assert self._run(self._crowd.settle(*about, retry=retry, node_lost=lost)) == expected

    def is_ended(self, chance: Chance, model: ModelRequest) -> None:
        if not chance.rarely:
            return
        attempt, cancels, only_waiting = model.attempt, chance.off == 0, chance.maybe
        outcome = "cancelled" if cancels else "failed"
        expected = model.end(outcome, only_waiting=only_waiting)
        about = (chance.at, attempt, chance.node)
        call = self._crowd.end(*about, cancels=cancels, only_waiting=only_waiting)
        assert self._run(call) == expected

    def is_preempted(self, chance: Chance, model: ModelRequest) -> None:
        attempt = model.attempt + chance.off
        expected = model.preempt(attempt)
        call = self._crowd.preempt(chance.at, attempt, model.node or chance.node)
        assert self._run(call) == expected

    def moves(self, chance: Chance, model: ModelRequest) -> None:
        expected = model.reprioritise(chance.priority, chance.other_priority)
        call = self._crowd.reprioritise(chance.at, chance.priority, chance.other_priority)
        assert self._run(call) == expected

    # --- workers -------------------------------------------------------------------------------

    def is_started(self, chance: Chance, model: ModelRequest) -> None:
        for command in _recent(self._commands, chance):
            executor = f"{chance.instance}/{command.entry.id}"
            model = self._model[command.request_id]
            expected = model.start(command.attempt, command.node, executor)
            worker = self._crowd.worker(command.node, chance.instance)
            started = self._run(worker.start(command.entry, command.event, executor, LEASE_MS))
            assert (started is not None) == expected
            if started is not None:
                self._attempts.append(started)

    def is_abandoned(self, chance: Chance, model: ModelRequest) -> None:
        for command in _recent(self._commands, chance):
            model = self._model[command.request_id]
            expected = model.abandon(command.attempt, command.node, chance.instance)
            worker = self._crowd.worker(command.node, chance.instance)
            assert self._run(worker.abandon(command.entry, command.event)) == expected

    def beats(self, chance: Chance, model: ModelRequest) -> None:
        for attempt in _recent(self._attempts, chance):
            expected = self._model[attempt.request_id].beat(attempt.number, attempt.executor)
            call = self._crowd.worker(attempt.node).beat(attempt, LEASE_MS)
            assert self._run(call) == expected

    def emits(self, chance: Chance, model: ModelRequest) -> None:
        for attempt in _recent(self._attempts, chance):
            if attempt.replyto:
                expected = self._model[attempt.request_id].emit(attempt.number, attempt.executor)
                piece = Piece(attempt, 0, b"{}")
                call = self._crowd.worker(attempt.node).emit([piece])
                assert self._run(call) == [expected]

    def finishes(self, chance: Chance, model: ModelRequest) -> None:
        for attempt in _recent(self._attempts, chance):
            completes, charge = chance.rarely, int(chance.maybe)
            expected = self._model[attempt.request_id].finish(
                attempt.number, attempt.executor, completes=completes, charge=charge
            )
            call = self._crowd.finish(attempt, completes=completes, charge=charge)
            assert self._run(call) == expected

    # --- time ----------------------------------------------------------------------------------

    def lease_ends(self, chance: Chance, model: ModelRequest) -> None:
        model.lease_is_over = True
        self._run(self._client.zadd(self._keys.flight, {chance.at: 1}, xx=True))

    def deadline_comes(self, chance: Chance, model: ModelRequest) -> None:
        if chance.rarely and model.state in ("waiting", *FLYING):
            model.overdue = True
            self._run(self._client.hset(self._keys.request(chance.at), "deadline_ms", "1"))

    # --- what always holds ---------------------------------------------------------------------

    @invariant()
    def the_store_is_consistent_and_as_the_model_says(self) -> None:
        stored, keeping = self._run(read(self._client, self._keys))
        invariants.check(stored, keeping)
        for at, model in self._model.items():
            _compare(stored, at, model)

    def _run(self, call: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await call

        return self._runner.run(awaited())


def _compare(stored: Stored, at: str, model: ModelRequest) -> None:
    record = stored.record(at)
    assert stored.state(at) == model.state
    assert (at in stored.flight) == model.holds_slot
    if model.state not in ("none", "cancelled_early"):
        assert record["attempt"] == str(model.attempt)
        assert record["charged"] == str(model.charged)
        assert record["stop"] == model.stop
        assert record["priority"] == model.priority
        assert record.get("outcome", "") == model.outcome
        assert ("first_byte_ms" in record) == model.first_byte
        assert stored.waiters(at) == model.waiters
    for asker in ("x", "y"):
        subjects = [reply["request"] for reply in stored.replies(asker) if "final" in reply]
        finals = Counter(each.partition("#")[1] for each in subjects if each[0] == at)
        assert finals == +Counter({"": model.answered[asker], "#": model.conflicts[asker]})


def _recent(values: Sequence[T], chance: Chance) -> Sequence[T]:
    """One of the last few, if there is any."""
    return values[-1 - chance.recent % len(values) :][:1] if values else ()


def test_any_order_of_calls_keeps_the_records_consistent(own_store: Store) -> None:
    class Machine(RequestMachine):
        url = own_store.url

    run_state_machine_as_test(Machine, settings=BOUNDED)
