"""A schedule depends on nothing but its seed."""

from collections import Counter

import pytest

from tests.chaos.plan import SHARES, TWO_HOURS_S, Kind, plan, shortfall

REQUESTS = 10_000


def test_the_same_seed_is_the_same_schedule_and_another_is_not() -> None:
    assert plan(7, 500) == plan(7, 500)
    assert plan(7, 500).faults != plan(8, 500).faults
    assert plan(7, 500).asks != plan(8, 500).asks


def test_ten_thousand_requests_meet_more_than_two_hundred_faults_of_every_kind() -> None:
    faults = plan(1, REQUESTS).faults

    assert len(faults) > 200
    assert {(fault.kind, fault.target) for fault in faults if fault.target in ("store", "n1")} >= {
        (Kind.KILL, "store"),
        (Kind.FREEZE, "store"),
        (Kind.JUMP, "store"),
        (Kind.KILL, "n1"),
        (Kind.LOSE, "n1"),
    }
    for kind, targets, _, _ in SHARES:
        assert any(fault.kind is kind and fault.target in targets for fault in faults)


def test_faults_come_in_order_while_requests_do_and_the_clock_leaps_once() -> None:
    for seed in range(20):
        faults = plan(seed, REQUESTS).faults

        assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
        assert faults[-1].at < REQUESTS
        assert [fault.for_s for fault in faults].count(TWO_HOURS_S) == 1


@pytest.mark.parametrize("requests", [400, REQUESTS])
def test_a_run_in_which_all_that_was_planned_was_carried_out_lacks_nothing(requests: int) -> None:
    struck = Counter(fault.sort for fault in plan(1, requests).faults)

    assert [*shortfall(requests, struck)] == []


def test_a_run_lacks_faults_that_were_planned_and_not_carried_out() -> None:
    assert [*shortfall(1000, Counter({"kill worker": 20}))] == []
    assert [*shortfall(1000, Counter({"kill worker": 19}))] == [
        "19 faults were carried out, of at least 20"
    ]


def test_a_full_run_lacks_what_was_never_carried_out() -> None:
    struck = Counter(fault.sort for fault in plan(1, REQUESTS).faults)
    del struck["jump store"], struck["kill engine"], struck["kill llama"]

    assert [*shortfall(REQUESTS, struck)] == [
        "never carried out: kill engine, kill llama",
        "never carried out: jump store",
    ]
