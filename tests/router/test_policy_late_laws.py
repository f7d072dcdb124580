"""Laws of who is too late, whatever the requests, nodes and durations are."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from services.router.policy.assignment import Assignment
from services.router.policy.backlog import Backlog
from services.router.policy.durations import FRESH_MS, FRESH_TIMES, SEEN
from services.router.policy.flight import Slot
from services.router.policy.request import Waiting
from services.router.policy.view import Fleet
from shared.config.models import Config
from shared.events.base import Priority
from tests.fakes.world import SIZE, fleet_of, law, node, resident, waiting

MODELS = ["qwen", "llama", "heuristic:tickets"]
NODES = "abc"
NOW_MS = 50_000
LONGEST_MS = 10_000

Speeds = dict[Slot, int]
speeds = st.dictionaries(
    st.builds(Slot, st.sampled_from(NODES), st.sampled_from(MODELS)), st.integers(1, LONGEST_MS)
)


@st.composite
def crowds(draw: st.DrawFn, soonest_ms: int = 1) -> list[Waiting]:
    chains = st.lists(st.sampled_from(MODELS), min_size=1, max_size=3, unique=True)
    return [
        waiting(
            f"r{number}",
            *draw(chains),
            priority=draw(st.sampled_from(Priority)),
            admitted_ms=NOW_MS - draw(st.integers(0, 20_000)),
            deadline_ms=NOW_MS + draw(st.integers(soonest_ms, soonest_ms + 15_000)),
        )
        for number in range(draw(st.integers(0, 20)))
    ]


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    names = draw(st.lists(st.sampled_from(NODES), max_size=3, unique=True))
    inventories = st.lists(st.sampled_from(MODELS), unique=True)
    ready = st.lists(st.sampled_from(MODELS[:2]), unique=True)
    return fleet_of(
        *(
            node(
                name,
                draw(inventories),
                [resident(each, slots=draw(st.integers(1, 3))) for each in draw(ready)],
            )
            for name in names
        )
    )


def learn(fleet: Fleet, known: Speeds, times: int = SEEN) -> None:
    for slot, took_ms in known.items():
        for _ in range(times):
            fleet.durations.completed(slot, SIZE, took_ms, NOW_MS)


def backlog_of(fleet: Fleet, crowd: Iterable[Waiting]) -> Backlog:
    backlog = Backlog(fleet, Config())
    for record in crowd:
        backlog.add(record)
    return backlog


def run(fleet: Fleet, crowd: list[Waiting]) -> list[Assignment]:
    """In slots without end, so that whoever may begin does."""
    backlog = backlog_of(fleet, crowd)
    assignments = []
    while (assignment := backlog.next_assignment(NOW_MS)) is not None:
        fleet.end(assignment.waiting.id)
        assignments.append(assignment)
    return assignments


def places(fleet: Fleet, record: Waiting) -> list[Slot]:
    offered = [fleet.offers[model] for model in record.candidates if model in fleet.offers]
    return [place for offer in offered for place in offer.places]


@law
@given(crowds(), fleets(), speeds)
def test_nobody_is_held_back_without_evidence(
    crowd: list[Waiting], fleet: Fleet, known: Speeds
) -> None:
    learn(fleet, known, times=SEEN - 1)

    assert backlog_of(fleet, crowd).late(NOW_MS) == []
    assert run(fleet, crowd) == run(fleet_of(*fleet.nodes.values()), crowd)


@law
@given(crowds(soonest_ms=LONGEST_MS), fleets(), speeds)
def test_nobody_with_more_time_than_any_duration_seen_is_held_back(
    crowd: list[Waiting], fleet: Fleet, known: Speeds
) -> None:
    learn(fleet, known)

    assert backlog_of(fleet, crowd).late(NOW_MS) == []
    assert run(fleet, crowd) == run(fleet_of(*fleet.nodes.values()), crowd)


@law
@given(crowds(), fleets(), speeds)
def test_nobody_begins_where_it_cannot_end_in_time(
    crowd: list[Waiting], fleet: Fleet, known: Speeds
) -> None:
    learn(fleet, known)

    for assignment in run(fleet, crowd):
        slot = Slot(assignment.node, assignment.model)
        assert NOW_MS + known.get(slot, 0) <= assignment.waiting.deadline_ms


@law
@given(crowds(), fleets(), st.integers(1, LONGEST_MS), st.integers(1, LONGEST_MS))
def test_doubt_holds_nobody_back_where_a_slot_is_free(
    crowd: list[Waiting], fleet: Fleet, fast_ms: int, slow_ms: int
) -> None:
    doubtless = fleet_of(*fleet.nodes.values())
    for offer in fleet.offers.values():
        for place in offer.places:
            for turn in range(SEEN):
                fleet.durations.completed(place, SIZE, slow_ms if turn else fast_ms, NOW_MS)
                doubtless.durations.completed(place, SIZE, min(fast_ms, slow_ms), NOW_MS)

    def who(assignments: list[Assignment]) -> list[str]:
        return sorted(assignment.waiting.id for assignment in assignments)

    assert who(run(fleet, crowd)) == who(run(doubtless, crowd))


@law
@given(crowds(), fleets(), speeds)
def test_exactly_those_who_could_end_in_time_nowhere_are_ended(
    crowd: list[Waiting], fleet: Fleet, known: Speeds
) -> None:
    learn(fleet, known)
    by_id = {record.id: record for record in crowd}

    late = [each.waiting.id for each in backlog_of(fleet, crowd).late(NOW_MS)]

    expected = [
        record.id
        for record in by_id.values()
        if all(model in fleet.offers for model in record.candidates)
        and all(NOW_MS + known.get(slot, 0) > record.deadline_ms for slot in places(fleet, record))
    ]
    assert sorted(late) == sorted(expected)


@law
@given(crowds(), fleets(), speeds, st.integers(0, 20_000))
def test_every_request_is_assigned_or_late_or_expired_or_still_waiting(
    crowd: list[Waiting], fleet: Fleet, known: Speeds, later_ms: int
) -> None:
    learn(fleet, known)
    backlog = backlog_of(fleet, crowd)
    gone = []

    for now_ms in (NOW_MS, NOW_MS + later_ms):
        while (assignment := backlog.next_assignment(now_ms)) is not None:
            gone.append(assignment.waiting.id)
        gone += [each.waiting.id for each in backlog.late(now_ms)]
        gone += [record.id for record in backlog.expired(now_ms)]

    assert sorted([*gone, *(record.id for record in backlog)]) == sorted(r.id for r in crowd)
    assert sum(backlog.lengths.values()) == len(backlog) == len(crowd) - len(gone)


@law
@given(st.integers(2, 60_000), st.integers(1, 1000), st.data())
def test_an_engine_that_has_become_faster_is_found_out_though_all_are_in_a_hurry(
    slow_ms: int, pause_ms: int, data: st.DataObject
) -> None:
    """Every request leaves more time than it takes now, and less than it took."""
    fast_ms = data.draw(st.integers(1, slow_ms - 1))
    left_ms = data.draw(st.integers(fast_ms, slow_ms - 1))
    slot = Slot("a", "qwen")
    fleet = fleet_of(node("a", ready=[resident("qwen", slots=1)]))
    backlog = backlog_of(fleet, [])
    learn(fleet, {slot: slow_ms})
    bound_ms = max(FRESH_MS, FRESH_TIMES * slow_ms)

    for now_ms in (NOW_MS + bound_ms - 1, NOW_MS + bound_ms, NOW_MS + bound_ms + pause_ms):
        backlog.add(waiting(f"r{now_ms}", "qwen", deadline_ms=now_ms + left_ms))
        assignment = backlog.next_assignment(now_ms)
        if now_ms < NOW_MS + bound_ms:
            assert assignment is None
            assert len(backlog.late(now_ms)) == 1
        else:
            assert assignment is not None
            fleet.end(assignment.waiting.id)
            fleet.durations.completed(slot, SIZE, fast_ms, now_ms)
