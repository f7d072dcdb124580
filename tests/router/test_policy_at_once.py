"""Who comes while nobody waits goes at once, or leaves nothing behind."""

from services.router.policy.flight import Slot
from tests.fakes.world import fleet_of, node, resident
from tests.router.backlogs import NOW_MS, backlog_of, just, learn, one_slot


def test_a_free_slot_is_taken_at_once() -> None:
    fleet = one_slot("qwen")
    backlog = backlog_of(fleet)

    assignment = backlog.at_once(just("r1"))

    assert assignment is not None
    assert (assignment.waiting.id, assignment.model, assignment.node) == ("r1", "qwen", "a")
    assert fleet.free_slots("a", "qwen") == 0
    assert "r1" not in backlog


def test_without_a_free_slot_it_is_as_if_it_had_not_come() -> None:
    fleet = one_slot("qwen")
    fleet.start("running", "a", "qwen")
    backlog = backlog_of(fleet)

    assert backlog.at_once(just("r1")) is None

    assert len(backlog) == 0
    assert not any(backlog.lengths.values())
    backlog.add(just("r1"))
    fleet.end("running")
    assert backlog.next_assignment(NOW_MS) is not None


def test_who_would_end_too_late_is_not_ended_before_it_was_admitted() -> None:
    fleet = fleet_of(node("a", ready=[resident("qwen", slots=2)]))
    learn(fleet, "a", "qwen", 500)
    fleet.start("running", "a", "qwen")
    backlog = backlog_of(fleet)
    late = just("r1", deadline_ms=NOW_MS + 499)

    assert backlog.at_once(late) is None
    assert backlog.late(NOW_MS) == []

    backlog.add(late)
    assert [each.slot for each in backlog.late(NOW_MS)] == [Slot("a", "qwen")]


def test_where_nothing_runs_an_old_estimate_holds_nobody_back() -> None:
    """It may have been learned while all slots were busy."""
    fleet = one_slot("qwen")
    learn(fleet, "a", "qwen", 60_000)
    backlog = backlog_of(fleet)

    assert backlog.at_once(just("r1", deadline_ms=NOW_MS + 30_000)) is not None
