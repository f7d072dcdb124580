"""Whoever cannot end before its deadline does not begin."""

import pytest

from services.router.policy.assignment import Late
from services.router.policy.backlog import AT_ONCE, Backlog
from services.router.policy.durations import FRESH_MS
from services.router.policy.failover import FailedAttempt, Retry, after_failure
from services.router.policy.flight import Slot
from services.router.policy.lanes import Lanes
from services.router.policy.request import size_of
from services.router.policy.timeline import Entry
from services.router.policy.view import Barred
from shared.config.models import Config
from shared.events.base import Operation, Priority
from shared.events.inference import FailureReason
from tests.fakes.world import fleet_of, local, node, resident
from tests.router.backlogs import BOUND_MS, NOW_MS, backlog_of, drain, just, learn, one_slot, taken

LONG = size_of(Operation.CHAT, 100_000, 0)


def late_ids(backlog: Backlog, now_ms: int = NOW_MS) -> list[str]:
    return [late.waiting.id for late in backlog.late(now_ms)]


def test_who_cannot_end_in_time_leaves_its_slot_to_who_can() -> None:
    fleet = one_slot("qwen")
    learn(fleet, "a", "qwen", 500)
    urgent = just("r1", priority=Priority.CRITICAL, deadline_ms=NOW_MS + 499)
    backlog = backlog_of(fleet, urgent, just("r2", deadline_ms=NOW_MS + 500))

    assert drain(backlog, fleet) == ["r2"]
    assert backlog.late(NOW_MS) == [Late(urgent, 499, 500, Slot("a", "qwen"))]
    assert backlog.late(NOW_MS) == []
    assert len(backlog) == 0


def test_who_waits_is_ended_as_soon_as_it_is_too_late_to_begin() -> None:
    fleet = one_slot("qwen")
    learn(fleet, "a", "qwen", 500)
    fleet.start("running", "a", "qwen")
    backlog = backlog_of(fleet, just("r1", deadline_ms=NOW_MS + 1000), just("r2"))

    assert late_ids(backlog, NOW_MS + 500) == []
    assert late_ids(backlog, NOW_MS + 501) == ["r1"]
    assert [waiting.id for waiting in backlog] == ["r2"]
    assert backlog.lengths[Priority.NORMAL] == 1


def test_what_is_known_of_long_requests_says_nothing_about_short_ones() -> None:
    fleet = one_slot("qwen")
    learn(fleet, "a", "qwen", 5000, LONG)
    backlog = backlog_of(
        fleet,
        just("long", size=LONG, deadline_ms=NOW_MS + 1000),
        just("short", deadline_ms=NOW_MS + 1000),
    )

    assert drain(backlog, fleet) == ["short"]
    assert late_ids(backlog) == ["long"]


def test_a_slot_that_is_too_slow_is_left_to_others_and_the_fast_one_waited_for() -> None:
    fleet = fleet_of(*(node(name, ready=[resident("qwen", slots=1)]) for name in ("fast", "slow")))
    learn(fleet, "fast", "qwen", 500)
    learn(fleet, "slow", "qwen", 5000)
    fleet.start("running", "fast", "qwen")
    hurried = just("r1", deadline_ms=NOW_MS + 2000)
    backlog = backlog_of(fleet, hurried, just("r2", admitted_ms=NOW_MS + 1))

    assert taken(backlog.next_assignment(NOW_MS)) == ("r2", "qwen", "slow")
    assert backlog.next_assignment(NOW_MS) is None
    assert late_ids(backlog) == []
    fleet.end("r2")
    assert backlog.next_assignment(NOW_MS) is None, "the slow one is free again"
    fleet.end("running")
    assert taken(backlog.next_assignment(NOW_MS)) == ("r1", "qwen", "fast")


def test_the_fast_node_is_taken_where_it_alone_is_fast_enough() -> None:
    fleet = fleet_of(
        node("fast", ready=[resident("qwen", slots=1)]),
        node("slow", ready=[resident("qwen", slots=3)]),
    )
    learn(fleet, "slow", "qwen", 5000)
    backlog = backlog_of(fleet, just("r1", deadline_ms=NOW_MS + 2000), just("r2"))

    assert taken(backlog.next_assignment(NOW_MS)) == ("r1", "qwen", "fast")
    assert taken(backlog.next_assignment(NOW_MS)) == ("r2", "qwen", "slow")


def test_another_candidate_may_still_be_fast_enough() -> None:
    fleet = one_slot("qwen", "llama")
    learn(fleet, "a", "qwen", 500)
    backlog = backlog_of(fleet, just("r1", "qwen", "llama", deadline_ms=NOW_MS + 400))

    assignment = backlog.next_assignment(NOW_MS)

    assert assignment is not None
    assert taken(assignment) == ("r1", "llama", "a")
    assert assignment.reason == "too late for qwen; a has most free slots (1)"


def test_rules_are_better_than_no_answer() -> None:
    fleet = fleet_of(node("a", ["heuristic:tickets"], [resident("qwen", slots=1)]))
    learn(fleet, "a", "qwen", 500)
    backlog = backlog_of(fleet, just("r1", "qwen", "heuristic:tickets", deadline_ms=NOW_MS + 400))

    assert late_ids(backlog) == []
    assert taken(backlog.next_assignment(NOW_MS)) == ("r1", "heuristic:tickets", "a")


def test_who_is_too_late_for_every_candidate_is_told_of_the_fastest() -> None:
    fleet = one_slot("qwen", "llama")
    learn(fleet, "a", "qwen", 500)
    learn(fleet, "a", "llama", 300)
    backlog = backlog_of(fleet, just("r1", "qwen", "llama", deadline_ms=NOW_MS + 200))

    assert backlog.next_assignment(NOW_MS) is None
    [late] = backlog.late(NOW_MS)
    assert (late.left_ms, late.least_ms, late.slot) == (200, 300, Slot("a", "llama"))


def test_a_candidate_that_is_barred_or_too_small_is_no_way_out() -> None:
    fleet = fleet_of(node("a", ["big", "small", "qwen"], [resident("qwen", slots=1)]))
    fleet.refuse({"big": Barred("too large")})
    learn(fleet, "a", "qwen", 500)
    small = frozenset({"small"})
    chain = ("qwen", "big", "small")
    backlog = backlog_of(fleet, just("r1", *chain, deadline_ms=NOW_MS + 400, too_small=small))

    assert late_ids(backlog) == ["r1"]


def test_a_candidate_whose_node_may_return_is_waited_for() -> None:
    fleet = one_slot("qwen")
    learn(fleet, "a", "qwen", 500)
    backlog = backlog_of(fleet, just("r1", "qwen", "away", deadline_ms=NOW_MS + 400))

    assert late_ids(backlog) == late_ids(backlog) == []
    assert backlog.next_assignment(NOW_MS) is None
    fleet.put(node("b", ready=["away"]))
    assert taken(backlog.next_assignment(NOW_MS)) == ("r1", "away", "b")


def test_who_waits_for_a_fast_node_is_ended_when_that_is_lost() -> None:
    fleet = fleet_of(*(node(name, ready=[resident("qwen", slots=1)]) for name in ("fast", "slow")))
    learn(fleet, "slow", "qwen", 5000)
    fleet.start("running", "fast", "qwen")
    backlog = backlog_of(fleet, just("r1", deadline_ms=NOW_MS + 2000))
    assert backlog.next_assignment(NOW_MS) is None

    fleet.lose("fast")

    assert late_ids(backlog) == ["r1"]


def test_a_node_that_could_load_the_model_is_unknown_and_so_waited_for() -> None:
    fleet = fleet_of(node("a", ready=[resident("qwen", slots=1)]), node("b", [local("qwen")]))
    learn(fleet, "a", "qwen", 5000)
    backlog = backlog_of(fleet, just("r1", deadline_ms=NOW_MS + 2000))

    assert backlog.next_assignment(NOW_MS) is None
    assert late_ids(backlog) == []
    assert backlog.demand(NOW_MS).keys() == {"qwen"}


def test_an_overdue_request_leaves_a_fallback_alone_that_is_too_slow_for_it() -> None:
    fleet = one_slot("qwen", "llama")
    fleet.start("running", "a", "qwen")
    now_ms = NOW_MS + BOUND_MS[Priority.NORMAL]
    learn(fleet, "a", "llama", 500, at_ms=now_ms)
    backlog = backlog_of(fleet, just("r1", "qwen", "llama", deadline_ms=now_ms + 400))

    assert backlog.next_assignment(now_ms) is None
    assert late_ids(backlog, now_ms) == []
    fleet.end("running")
    assert taken(backlog.next_assignment(now_ms)) == ("r1", "qwen", "a")


def test_what_nothing_confirmed_for_long_is_tried_by_one_request() -> None:
    fleet = one_slot("qwen")
    learn(fleet, "a", "qwen", 500)
    now_ms = NOW_MS + FRESH_MS
    hurried = [just(f"r{number}", deadline_ms=now_ms + 400) for number in range(3)]
    backlog = backlog_of(fleet, *hurried)

    assert late_ids(backlog, now_ms) == []
    assert drain(backlog, fleet, now_ms) == ["r0"]
    assert late_ids(backlog, now_ms) == ["r1", "r2"]


@pytest.mark.parametrize("by", ["looking", "dispatching"])
def test_a_crowd_that_is_late_together_is_taken_out_in_portions(by: str) -> None:
    fleet = one_slot("qwen")
    learn(fleet, "a", "qwen", 500)
    crowd = [just(f"r{number}", deadline_ms=NOW_MS + 400) for number in range(AT_ONCE + 1)]
    backlog = backlog_of(fleet, *crowd, just("patient", priority=Priority.LOW))

    if by == "dispatching":
        assert backlog.next_assignment(NOW_MS) is None
        assert taken(backlog.next_assignment(NOW_MS)) == ("patient", "qwen", "a")
        assert len(late_ids(backlog)) == AT_ONCE + 1
    else:
        assert [len(late_ids(backlog)) for _ in range(3)] == [AT_ONCE, 1, 0]


def test_a_retry_is_judged_anew() -> None:
    failed = FailedAttempt(
        just("r1", doubtful=True, too_slow=frozenset({Slot("a", "qwen")})),
        "qwen",
        FailureReason.NODE_LOST,
    )

    answer = after_failure(failed, one_slot("qwen").offers, Config().attempts, NOW_MS, 0.5)

    assert isinstance(answer, Retry)
    assert answer.waiting == just("r1", attempt=1, charged=1)


def test_a_lane_keeps_nothing_of_those_who_left() -> None:
    offers = one_slot("qwen").offers
    lanes = Lanes()
    entries = [Entry(just(f"r{number}"), number) for number in range(10)]
    for entry in entries:
        lanes.add(NOW_MS, entry, offers)
    [lane] = lanes

    for entry in entries[1:]:
        entry.alive = False
        lanes.left(lane)

    assert list(lane) == list(lane.deadlines) == entries[:1]
    assert len(lane) == len(lane.deadlines) == 1
