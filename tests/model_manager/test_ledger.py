"""What a node's memory is promised to."""

import pytest

from services.model_manager.ledger import Ledger, OverCommitError
from tests.fakes.stalls import device, room


def free(ledger: Ledger) -> int:
    return sum(ledger.free_mib().values())


@pytest.mark.parametrize(
    ("of", "margin_mib"),
    [
        pytest.param(device(8192), 1024, id="small GPU: 1 GiB"),
        pytest.param(device(81920), 4096, id="large GPU: 5 %"),
        pytest.param(device(8192, kind="host"), 820, id="host: 10 %"),
    ],
)
def test_a_margin_stays_free(of: object, margin_mib: int) -> None:
    ledger = Ledger()
    ledger.observe([of])  # type: ignore[list-item]

    assert free(ledger) == of.total_mib - margin_mib  # type: ignore[attr-defined]


def test_nothing_is_free_where_nothing_was_sampled() -> None:
    with pytest.raises(OverCommitError):
        Ledger().reserve("a", 1)


def test_a_reservation_takes_its_memory_before_any_reading_shows_it() -> None:
    ledger = room(10_000)
    ledger.reserve("a", 6_000)

    assert free(ledger) == 4_000
    with pytest.raises(OverCommitError):
        ledger.reserve("b", 4_001)


def test_foreign_use_and_a_load_under_way_count_together() -> None:
    ledger = Ledger()
    ledger.observe([device(24_000, used_mib=10_000)])
    ledger.reserve("a", 8_000)

    assert free(ledger) == 24_000 - 1200 - 10_000 - 8_000


def test_a_reading_in_the_middle_of_a_load_does_not_show_it() -> None:
    ledger = Ledger()
    ledger.observe([device(24_000, used_mib=10_000)])
    ledger.reserve("a", 8_000)
    ledger.observe([device(24_000, used_mib=10_000)])

    assert free(ledger) == 24_000 - 1200 - 10_000 - 8_000


def test_a_model_is_not_counted_twice_once_a_reading_shows_it() -> None:
    ledger = Ledger()
    ledger.observe([device(24_000, used_mib=2_000)])
    ledger.reserve("a", 8_000)
    ledger.settle("a", 7_500)
    assert free(ledger) == 24_000 - 1200 - 2_000 - 7_500

    ledger.observe([device(24_000, used_mib=9_500)])
    assert free(ledger) == 24_000 - 1200 - 9_500


def test_a_reading_that_shows_less_than_is_reserved_frees_nothing() -> None:
    ledger = room(10_000)
    ledger.reserve("a", 6_000)
    ledger.settle("a", None)
    ledger.observe([device(11_024, used_mib=100)])

    assert free(ledger) == 4_000


def test_what_was_released_is_free_once_a_reading_shows_it() -> None:
    ledger = room(10_000)
    ledger.reserve("a", 6_000)
    ledger.settle("a", 6_000)
    ledger.observe([device(11_024, used_mib=6_000)])
    ledger.release("a")
    assert free(ledger) == 4_000

    ledger.observe([device(11_024, used_mib=0)])
    assert free(ledger) == 10_000


def test_one_device_is_preferred_and_the_roomiest_taken() -> None:
    assert room(6_000, 8_000).fit(5_000) == {"gpu-1": 5_000}


def test_a_model_that_no_device_holds_alone_is_split() -> None:
    assert room(6_000, 8_000).fit(10_000) == {"gpu-1": 8_000, "gpu-0": 2_000}
    assert room(6_000, 8_000).fit(14_001) is None


def test_a_budget_bounds_all_devices_together() -> None:
    ledger = room(6_000, 8_000)
    ledger.budget_mib = 9_000

    assert ledger.fit(9_001) is None
    assert ledger.fit(9_000) == {"gpu-1": 8_000, "gpu-0": 1_000}


def test_a_budget_stands_in_for_the_memory_of_a_host() -> None:
    ledger = Ledger(budget_mib=48_000)
    ledger.observe([device(8_000, used_mib=7_900, kind="host")])

    ledger.reserve("a", 40_000)

    assert ledger.free_mib() == {"declared": 8_000}


def test_a_model_found_loaded_counts_even_without_room() -> None:
    ledger = room(4_000)
    ledger.adopt("a", 9_000)

    assert free(ledger) == 0
    assert ledger.fit(1) is None


def test_a_model_found_before_the_first_reading_is_placed_by_it() -> None:
    ledger = Ledger()
    ledger.adopt("a", 3_000)
    ledger.settle("a", 3_000)
    ledger.observe([device(9_024, used_mib=3_000)])

    assert free(ledger) == 5_000
    assert ledger.free_mib(without=["a"]) == {"gpu-0": 8_000}


def test_what_would_be_free_without_a_model_is_known_beforehand() -> None:
    ledger = room(10_000)
    for model in ("a", "b"):
        ledger.reserve(model, 4_000)
        ledger.settle(model, 4_000)
    ledger.observe([device(11_024, used_mib=9_000)])

    assert ledger.free_mib(without=["a"]) == {"gpu-0": 5_000}
    assert ledger.free_mib(without=["a", "b"]) == {"gpu-0": 9_000}


def test_a_measurement_is_spread_as_the_reservation_was() -> None:
    ledger = room(6_000, 8_000)
    ledger.reserve("a", 10_000)
    ledger.settle("a", 5_000)

    assert ledger.held_mib("a") == 5_000
    assert ledger.free_mib() == {"gpu-0": 5_000, "gpu-1": 4_000}


def test_a_model_is_reserved_once() -> None:
    ledger = room(10_000)
    ledger.reserve("a", 1_000)

    with pytest.raises(OverCommitError):
        ledger.reserve("a", 1_000)
