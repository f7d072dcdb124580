"""Laws of the order, whatever the requests and nodes are."""

from operator import attrgetter

from hypothesis import given
from hypothesis import strategies as st

from services.router.policy.assignment import Assignment
from services.router.policy.backlog import Backlog
from services.router.policy.request import Waiting
from services.router.policy.view import Fleet
from shared.config.models import Config
from shared.events.base import Priority
from tests.fakes.world import fleet_of, law, node, resident, waiting

MODELS = ["qwen", "llama", "phi", "tiny", "heuristic:tickets"]
BOUNDS_S = {Priority.CRITICAL: 1, Priority.HIGH: 3, Priority.NORMAL: 6, Priority.LOW: 12}
CONFIG = Config.model_validate(
    {"priorities": {priority: {"wait_bound_s": float(s)} for priority, s in BOUNDS_S.items()}}
)
END_MS = 20_000
RANK = [*Priority].index

chains = st.lists(st.sampled_from(MODELS), min_size=1, max_size=3, unique=True)


@st.composite
def records(draw: st.DrawFn, request: str = "r") -> Waiting:
    chain = draw(chains)
    return waiting(
        request,
        *chain,
        priority=draw(st.sampled_from(Priority)),
        tenant=draw(st.sampled_from(["x", "y"])),
        admitted_ms=draw(st.integers(0, END_MS)),
        deadline_ms=draw(st.integers(END_MS // 2, 2 * END_MS)),
        not_before_ms=draw(st.just(0) | st.integers(0, END_MS)),
        position=draw(st.integers(0, len(chain) - 1)),
    )


@st.composite
def crowds(draw: st.DrawFn) -> list[Waiting]:
    count = draw(st.integers(0, 25))
    return [draw(records(f"r{number}")) for number in range(count)]


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    names = draw(st.lists(st.sampled_from("abc"), max_size=3, unique=True))
    ready = st.lists(st.sampled_from(MODELS[:3]), unique=True, max_size=3)
    return fleet_of(
        *(
            node(
                name,
                draw(st.lists(st.sampled_from(MODELS), unique=True)),
                [resident(model, slots=draw(st.integers(1, 3))) for model in draw(ready)],
                settled=draw(st.booleans()),
            )
            for name in names
        )
    )


def laid_out(fleet: Fleet, crowd: list[Waiting]) -> Backlog:
    backlog = Backlog(fleet, CONFIG)
    for record in crowd:
        backlog.add(record)
    return backlog


def assigned(backlog: Backlog, now_ms: int) -> list[Assignment]:
    return list(iter(lambda: backlog.next_assignment(now_ms), None))


@law
@given(crowds(), fleets(), st.integers(0, 2 * END_MS))
def test_no_slot_is_given_twice_and_no_request_goes_twice(
    crowd: list[Waiting], fleet: Fleet, now_ms: int
) -> None:
    backlog = laid_out(fleet, crowd)

    given_out = assigned(backlog, now_ms)

    ids = [assignment.waiting.id for assignment in given_out]
    assert len(ids) == len(set(ids))
    for one in fleet.nodes.values():
        for model in one.inventory:
            used = [a for a in given_out if (a.node, a.model) == (one.name, model)]
            assert len(used) <= one.slots(model)
            assert fleet.free_slots(one.name, model) == one.slots(model) - len(used)


@law
@given(crowds(), fleets(), st.integers(0, 2 * END_MS))
def test_nobody_goes_before_its_time_or_after_its_deadline_or_where_it_did_not_ask(
    crowd: list[Waiting], fleet: Fleet, now_ms: int
) -> None:
    for assignment in assigned(laid_out(fleet, crowd), now_ms):
        record = assignment.waiting
        assert record.not_before_ms <= now_ms < record.deadline_ms
        assert assignment.model in record.candidates


@law
@given(crowds(), fleets(), st.integers(0, 2 * END_MS))
def test_every_request_is_assigned_or_expired_or_still_waiting(
    crowd: list[Waiting], fleet: Fleet, now_ms: int
) -> None:
    backlog = laid_out(fleet, crowd)

    gone = [assignment.waiting for assignment in assigned(backlog, now_ms)]
    expired = backlog.expired(now_ms)

    def by_id(some: list[Waiting]) -> list[Waiting]:
        return sorted(some, key=lambda record: record.id)

    assert by_id([*gone, *expired, *backlog]) == by_id(crowd)
    assert sum(backlog.lengths.values()) == len(backlog) == len(crowd) - len(gone) - len(expired)
    assert all(record.deadline_ms <= now_ms for record in expired)


@law
@given(crowds(), st.lists(fleets(), min_size=1, max_size=4), st.integers(0, END_MS // 2 - 1))
def test_nodes_that_come_and_go_lose_nobody(
    crowd: list[Waiting], views: list[Fleet], now_ms: int
) -> None:
    fleet = fleet_of()
    backlog = laid_out(fleet, crowd)

    for view in views:
        for name in "abc":
            fleet.lose(name)
        for one in view.nodes.values():
            fleet.put(one)
        backlog.demand(now_ms)

    assert sorted(record.id for record in backlog) == sorted(record.id for record in crowd)
    fresh = laid_out(fleet_of(*fleet.nodes.values()), crowd)
    assert [a.waiting.id for a in assigned(backlog, now_ms)] == [
        a.waiting.id for a in assigned(fresh, now_ms)
    ]


@law
@given(crowds(), fleets(), st.data())
def test_who_is_removed_is_gone_and_the_others_keep_their_order(
    crowd: list[Waiting], fleet: Fleet, data: st.DataObject
) -> None:
    leaving = data.draw(st.sets(st.sampled_from(crowd))) if crowd else set()
    staying = [record for record in crowd if record not in leaving]
    backlog = laid_out(fleet, crowd)

    for record in leaving:
        assert backlog.remove(record.id) == record

    other = laid_out(fleet_of(*fleet.nodes.values()), staying)
    assert assigned(backlog, END_MS // 4) == assigned(other, END_MS // 4)


@law
@given(crowds(), st.integers(0, END_MS))
def test_where_one_model_serves_all_they_go_by_class_and_each_fourth_by_the_end_of_its_bound(
    crowd: list[Waiting], now_ms: int
) -> None:
    fleet = fleet_of(node("a", ready=[resident("qwen", slots=100)]))
    alike = [
        waiting(r.id, "qwen", priority=r.priority, tenant=r.tenant, admitted_ms=r.admitted_ms)
        for r in crowd
    ]

    order = [assignment.waiting for assignment in assigned(laid_out(fleet, alike), now_ms)]

    def end_ms(record: Waiting) -> int:
        return record.admitted_ms + BOUNDS_S[record.priority] * 1000

    assert len(order) == len(alike)
    for turn, record in enumerate(order):
        left = order[turn:]
        rivals = [r for r in left if r.priority is min(map(attrgetter("priority"), left), key=RANK)]
        assert record in rivals or turn % 4 == 3
        assert end_ms(record) == min(map(end_ms, left if turn % 4 == 3 else rivals))
    for priority in Priority:
        of_class = [r.admitted_ms for r in order if r.priority is priority]
        assert of_class == sorted(of_class)


@law
@given(
    st.sampled_from(Priority),
    st.lists(st.sampled_from(Priority), min_size=60, max_size=60),
    st.integers(100, 1000),
)
def test_nobody_starves_however_many_others_come(
    priority: Priority, others: list[Priority], service_ms: int
) -> None:
    """One slot, and a new request each time that it is free: more than it can serve."""
    fleet = fleet_of(node("a", ready=[resident("qwen", slots=1)]))
    backlog = laid_out(fleet, [waiting("me", "qwen", priority=priority, admitted_ms=0)])
    waited_ms = None
    for turn, other in enumerate(others):
        now_ms = turn * service_ms
        backlog.add(waiting(f"r{turn}", "qwen", priority=other, admitted_ms=now_ms))
        assignment = backlog.next_assignment(now_ms)
        assert assignment is not None
        fleet.end(assignment.waiting.id)
        if assignment.waiting.id == "me":
            waited_ms = now_ms
            break

    until_the_next_turn_ms = 3 * service_ms
    bound_ms = BOUNDS_S[priority] * 1000 + until_the_next_turn_ms
    served_meanwhile_ms = len(others) * service_ms
    assert waited_ms is not None or served_meanwhile_ms <= bound_ms
    assert (waited_ms or 0) <= bound_ms


def test_all_that_waits_can_move_to_a_backlog_with_other_bounds() -> None:
    fleet = fleet_of(node("a", ready=[resident("qwen", slots=5)]))
    urgent = [waiting(f"r{number}", priority=Priority.CRITICAL) for number in range(3)]
    late = [waiting("low", priority=Priority.LOW), waiting("high", priority=Priority.HIGH)]
    patient = Config.model_validate({"priorities": {"HIGH": {"wait_bound_s": 3600.0}}})

    moved = Backlog(fleet, patient)
    for record in laid_out(fleet, [*urgent, *late]):
        moved.add(record)

    assert [assignment.waiting.id for assignment in assigned(moved, 0)][3:] == ["low", "high"]
