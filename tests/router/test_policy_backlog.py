"""The order of what waits, told by examples."""

import pytest

from shared.events.base import Priority
from shared.events.models import ModelState
from tests.fakes.world import fleet_of, node, resident, waiting
from tests.router.backlogs import BOUND_MS, NOW_MS, backlog_of, drain, just, one_slot, taken


def test_an_assignment_takes_the_request_and_the_slot() -> None:
    fleet = one_slot("qwen")
    backlog = backlog_of(fleet, just("r1", attempt=1), just("r2"))

    assignment = backlog.next_assignment(NOW_MS)

    assert assignment is not None
    assert taken(assignment) == ("r1", "qwen", "a")
    assert assignment.attempt == 2
    assert assignment.reason == "first choice; a has most free slots (1)"
    assert "r1" not in backlog
    assert fleet.free_slots("a", "qwen") == 0
    assert backlog.next_assignment(NOW_MS) is None


def test_an_empty_backlog_assigns_nothing() -> None:
    assert backlog_of(one_slot("qwen")).next_assignment(NOW_MS) is None


def test_more_urgent_classes_go_first() -> None:
    fleet = one_slot("qwen")
    records = [just(priority, priority=priority) for priority in reversed(Priority)]

    assert drain(backlog_of(fleet, *records), fleet) == list(Priority)


def test_inside_a_class_the_first_come_is_the_first_served() -> None:
    fleet = one_slot("qwen")
    times = {"r3": 30, "r1": 10, "r2": 20, "r2b": 20}
    records = [waiting(request, admitted_ms=at_ms) for request, at_ms in times.items()]

    assert drain(backlog_of(fleet, *records), fleet, 100) == ["r1", "r2", "r2b", "r3"]


@pytest.mark.parametrize(("waited_longer_ms", "place"), [(-1, 6), (1, 3)], ids=["just not", "just"])
@pytest.mark.parametrize("priority", [Priority.HIGH, Priority.NORMAL, Priority.LOW])
def test_every_fourth_slot_goes_to_who_waited_longer_than_the_difference_of_the_bounds(
    priority: Priority, waited_longer_ms: int, place: int
) -> None:
    fleet = one_slot("qwen")
    head_start_ms = BOUND_MS[priority] - BOUND_MS[Priority.CRITICAL] + waited_longer_ms
    backlog = backlog_of(
        fleet,
        just("old", priority=priority, admitted_ms=NOW_MS - head_start_ms),
        *(just(f"new-{number}", priority=Priority.CRITICAL) for number in range(6)),
    )

    assert drain(backlog, fleet).index("old") == place


def test_however_many_others_are_overdue_an_urgent_one_waits_for_one_of_them_at_most() -> None:
    fleet = one_slot("qwen")
    crowd = [waiting(f"old-{number}", priority=Priority.HIGH) for number in range(20)]
    backlog = backlog_of(fleet, *crowd)

    for number in range(8):
        backlog.add(just(f"new-{number}", priority=Priority.CRITICAL))
        served = []
        for _ in range(2):
            request, _, _ = taken(backlog.next_assignment(NOW_MS))
            fleet.end(request)
            served.append(request)
        assert f"new-{number}" in served


def test_a_request_takes_the_model_that_it_prefers_whosever_turn_it_is() -> None:
    fleet = one_slot("llama", "qwen")
    fleet.start("running", "a", "qwen")
    backlog = backlog_of(fleet, *(waiting(f"r{number}", "llama") for number in range(3)))
    drain(backlog, fleet)
    fleet.end("running")
    backlog.add(waiting("r3", "qwen", "llama"))

    assert taken(backlog.next_assignment(NOW_MS)) == ("r3", "qwen", "a")


def test_a_request_whose_model_is_busy_holds_nobody_up() -> None:
    fleet = one_slot("qwen", "llama")
    fleet.start("running", "a", "qwen")
    backlog = backlog_of(fleet, just("r1", "qwen", priority=Priority.CRITICAL), just("r2", "llama"))

    assert taken(backlog.next_assignment(NOW_MS)) == ("r2", "llama", "a")


@pytest.mark.parametrize("state", [state for state in ModelState if state != ModelState.READY])
def test_a_model_that_is_not_ready_takes_nothing(state: ModelState) -> None:
    fleet = fleet_of(node("a", ready=[resident("qwen", state=state)]))

    assert backlog_of(fleet, just("r1")).next_assignment(NOW_MS) is None


def test_a_request_waits_for_its_first_candidate_and_takes_another_when_it_is_overdue() -> None:
    fleet = one_slot("qwen", "llama")
    fleet.start("running", "a", "qwen")
    backlog = backlog_of(fleet, just("r1", "qwen", "llama"))
    bound_ms = BOUND_MS[Priority.NORMAL]

    assert backlog.next_assignment(NOW_MS + bound_ms - 1) is None
    assignment = backlog.next_assignment(NOW_MS + bound_ms)

    assert assignment is not None
    assert taken(assignment) == ("r1", "llama", "a")
    assert assignment.reason == "waited too long for qwen; a has most free slots (1)"


def test_an_overdue_request_prefers_the_model_that_it_waits_for() -> None:
    fleet = one_slot("llama", "phi", "qwen")
    backlog = backlog_of(fleet, waiting("r1", "qwen", "phi", "llama"))

    assert taken(backlog.next_assignment(NOW_MS)) == ("r1", "qwen", "a")


def test_overdue_candidates_are_taken_in_the_order_of_the_chain() -> None:
    fleet = one_slot("llama", "phi", "qwen")
    fleet.start("running", "a", "qwen")
    backlog = backlog_of(fleet, waiting("r1", "qwen", "phi", "llama"))

    assert taken(backlog.next_assignment(NOW_MS)) == ("r1", "phi", "a")


def test_rules_wait_for_a_model_that_is_away_until_the_request_is_overdue() -> None:
    fleet = fleet_of(node("a", ready=["qwen"]), node("b", ["heuristic:tickets"]))
    backlog = backlog_of(fleet, just("r1", "qwen", "heuristic:tickets"))
    fleet.lose("a")

    assert backlog.next_assignment(NOW_MS) is None
    late = backlog.next_assignment(NOW_MS + BOUND_MS[Priority.NORMAL])

    assert taken(late) == ("r1", "heuristic:tickets", "b")


def test_rules_are_taken_at_once_where_failure_has_led_there() -> None:
    fleet = fleet_of(node("a", ["heuristic:tickets"], ["qwen"]))
    backlog = backlog_of(fleet, just("r1", "qwen", "heuristic:tickets", position=1))

    assignment = backlog.next_assignment(NOW_MS)

    assert assignment is not None
    assert assignment.model == "heuristic:tickets"
    assert assignment.reason == "next candidate after a failure; a has most free slots (2)"


def test_requests_follow_the_models_as_nodes_come_and_go() -> None:
    fleet = fleet_of(node("a", ready=["qwen"]), node("b", ready=["llama"]))
    backlog = backlog_of(fleet, just("r1", "qwen", "llama"), just("r2", "qwen", "llama"))

    fleet.lose("a")
    assignment = backlog.next_assignment(NOW_MS)
    assert assignment is not None
    assert taken(assignment) == ("r1", "llama", "b")
    assert assignment.reason == "no live node offers qwen; b has most free slots (2)"

    fleet.put(node("a", ready=["qwen"]))
    assert taken(backlog.next_assignment(NOW_MS)) == ("r2", "qwen", "a")


def test_a_request_goes_where_its_model_has_most_free_slots() -> None:
    fleet = fleet_of(
        node("a", ready=[resident("qwen", slots=1)]), node("b", ready=[resident("qwen", slots=3)])
    )
    backlog = backlog_of(fleet, *(just(f"r{number}") for number in range(4)))

    nodes = [taken(backlog.next_assignment(NOW_MS))[2] for _ in range(4)]

    assert nodes == ["b", "b", "a", "b"]


def test_a_removed_request_is_never_assigned() -> None:
    fleet = one_slot("qwen")
    backlog = backlog_of(fleet, just("r1"), just("r2"), just("r3", not_before_ms=NOW_MS))

    assert backlog.remove("r1") == just("r1")
    assert backlog.remove("r3") == just("r3", not_before_ms=NOW_MS)
    assert backlog.remove("r1") is None

    assert drain(backlog, fleet) == ["r2"]


def test_a_request_that_returns_after_a_failure_keeps_its_place() -> None:
    fleet = one_slot("qwen")
    backlog = backlog_of(fleet, waiting("r1", admitted_ms=1), waiting("r2", admitted_ms=2))
    assignment = backlog.next_assignment(10)
    assert assignment is not None
    fleet.end("r1")

    backlog.add(assignment.waiting)

    assert drain(backlog, fleet, 10) == ["r1", "r2"]


def test_a_request_waits_once() -> None:
    backlog = backlog_of(one_slot("qwen"), just("r1"))

    with pytest.raises(ValueError, match="r1 waits already"):
        backlog.add(just("r1"))


def test_nothing_goes_before_its_time() -> None:
    backlog = backlog_of(one_slot("qwen"), just("r1", not_before_ms=NOW_MS + 500))

    assert backlog.next_assignment(NOW_MS + 499) is None
    assert taken(backlog.next_assignment(NOW_MS + 500)) == ("r1", "qwen", "a")


def test_what_expired_is_told_once_and_never_assigned() -> None:
    fleet = one_slot("qwen")
    late, held = (
        just("r1", deadline_ms=NOW_MS + 9),
        just("r2", deadline_ms=NOW_MS + 9, not_before_ms=NOW_MS + 99),
    )
    backlog = backlog_of(fleet, late, held, just("r3"))

    assert backlog.expired(NOW_MS + 8) == []
    assert drain(backlog, fleet, NOW_MS + 9) == ["r3"]
    assert backlog.expired(NOW_MS + 9) == [late, held]
    assert backlog.expired(NOW_MS + 9) == []
    assert len(backlog) == 0


def test_lengths_count_all_that_waits_by_class() -> None:
    fleet = one_slot("qwen")
    backlog = backlog_of(
        fleet,
        just("r1", priority=Priority.LOW),
        just("r2", priority=Priority.LOW, not_before_ms=NOW_MS + 1),
        just("r3", "away", priority=Priority.HIGH),
    )
    assert backlog.lengths == {
        Priority.CRITICAL: 0,
        Priority.HIGH: 1,
        Priority.NORMAL: 0,
        Priority.LOW: 2,
    }

    backlog.remove("r3")
    backlog.next_assignment(NOW_MS)

    assert backlog.lengths[Priority.HIGH] == 0
    assert backlog.lengths[Priority.LOW] == 1


def test_demand_counts_who_waits_for_a_model_and_since_when() -> None:
    fleet = fleet_of(node("a", ["qwen", "llama"]))
    backlog = backlog_of(
        fleet,
        waiting("r1", "qwen", "llama", admitted_ms=50),
        waiting("r2", "qwen", admitted_ms=30, priority=Priority.LOW),
        waiting("r3", "qwen", admitted_ms=40, tenant="other"),
        waiting("r4", "llama", admitted_ms=60),
        waiting("r5", "qwen", admitted_ms=10, not_before_ms=200),
        waiting("r6", "away", admitted_ms=10),
    )

    demand = backlog.demand(100)

    assert demand.keys() == {"qwen", "llama"}
    assert demand["qwen"].waiting == {
        Priority.CRITICAL: 0,
        Priority.HIGH: 0,
        Priority.NORMAL: 2,
        Priority.LOW: 1,
    }
    assert demand["qwen"].oldest_ms == 30
    assert demand["llama"].oldest_ms == 60
