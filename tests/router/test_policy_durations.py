"""What is known of how long requests take, and what is not."""

from hypothesis import given
from hypothesis import strategies as st

from services.router.policy.durations import FRESH_MS, FRESH_TIMES, SEEN, Durations
from services.router.policy.flight import Slot
from services.router.policy.request import size_of
from shared.events.base import Operation
from tests.fakes.world import SIZE, law

QWEN = Slot("a", "qwen")
NOW_MS = 1_000_000

durations_ms = st.integers(1, 600_000)
enough_ms = st.lists(durations_ms, min_size=SEEN, max_size=3 * SEEN)


def learned(*took_ms: int) -> Durations:
    durations = Durations()
    for each_ms in took_ms:
        durations.completed(QWEN, SIZE, each_ms, NOW_MS)
    return durations


def least_ms(durations: Durations, now_ms: int = NOW_MS) -> int:
    return durations.least_ms(QWEN, SIZE, now_ms)


@law
@given(st.lists(durations_ms, max_size=SEEN - 1))
def test_too_few_completions_are_no_evidence(took_ms: list[int]) -> None:
    assert least_ms(learned(*took_ms)) == 0


@law
@given(enough_ms)
def test_an_estimate_is_the_shortest_of_the_last_completions(took_ms: list[int]) -> None:
    assert least_ms(learned(*took_ms)) == min(took_ms[-SEEN:])


@law
@given(enough_ms, st.lists(durations_ms, min_size=SEEN, max_size=SEEN))
def test_a_change_of_speed_is_known_after_so_many_completions_and_a_faster_one_after_one(
    before_ms: list[int], after_ms: list[int]
) -> None:
    durations = learned(*before_ms)
    for each_ms in after_ms:
        durations.completed(QWEN, SIZE, each_ms, NOW_MS)
        assert least_ms(durations) <= each_ms

    assert least_ms(durations) == min(after_ms)


@law
@given(st.integers(1, 600_000))
def test_an_estimate_that_nothing_confirms_is_tried_by_one_request_at_a_time(took_ms: int) -> None:
    durations = learned(*[took_ms] * SEEN)
    pause_ms = max(FRESH_MS, FRESH_TIMES * took_ms)

    for turn in (1, 2, 3):
        due_ms = NOW_MS + turn * pause_ms
        assert least_ms(durations, due_ms - 1) == took_ms
        assert least_ms(durations, due_ms) == 0
        durations.started(QWEN, SIZE, due_ms)
        assert least_ms(durations, due_ms) == took_ms


@law
@given(enough_ms)
def test_nine_of_ten_of_the_last_requests_ended_in_what_is_enough(took_ms: list[int]) -> None:
    durations = learned(*took_ms)

    ended = [each_ms <= durations.enough_ms(QWEN, SIZE, NOW_MS) for each_ms in took_ms[-SEEN:]]
    assert ended.count(True) >= 0.9 * SEEN
    assert durations.enough_ms(QWEN, SIZE, NOW_MS) in took_ms


@law
@given(st.lists(durations_ms, max_size=SEEN - 1))
def test_nobody_knows_what_is_enough_after_too_few_requests(took_ms: list[int]) -> None:
    assert learned(*took_ms).enough_ms(QWEN, SIZE, NOW_MS) == 0


@law
@given(st.integers(1, 60_000), st.integers(1, 20))
def test_an_engine_that_has_become_too_slow_for_any_to_end_needs_more_after_three_of_them(
    fast_ms: int, times: int
) -> None:
    durations = learned(*[fast_ms] * SEEN)

    for _ in range(3):
        assert durations.enough_ms(QWEN, SIZE, NOW_MS) == fast_ms
        durations.outlasted(QWEN, SIZE, fast_ms * times, NOW_MS)

    assert durations.enough_ms(QWEN, SIZE, NOW_MS) == 2 * fast_ms * times
    assert least_ms(durations) == fast_ms


def test_what_lasted_much_shorter_than_is_enough_is_no_news() -> None:
    durations = learned(*[500] * SEEN)

    for _ in range(SEEN):
        durations.outlasted(QWEN, SIZE, 250, NOW_MS)

    assert durations.enough_ms(QWEN, SIZE, NOW_MS) == 500


def test_starts_alone_confirm_nothing() -> None:
    durations = learned(*[500] * SEEN)

    for second in range(29):
        durations.started(QWEN, SIZE, NOW_MS + second * 1000)

    assert least_ms(durations, NOW_MS + FRESH_MS) == 0
    assert durations.enough_ms(QWEN, SIZE, NOW_MS + FRESH_MS) == 0


def test_sizes_operations_models_and_nodes_are_told_apart() -> None:
    durations = learned(*[500] * SEEN)
    others = [
        size_of(Operation.CHAT, 100_000, 0),
        size_of(Operation.CHAT, 100, 5),
        size_of(Operation.EMBEDDING, 100, 0),
    ]

    assert [durations.least_ms(QWEN, size, NOW_MS) for size in others] == [0, 0, 0]
    assert durations.least_ms(Slot("b", "qwen"), SIZE, NOW_MS) == 0
    assert durations.least_ms(Slot("a", "llama"), SIZE, NOW_MS) == 0
    assert durations.enough_ms(Slot("a", "llama"), SIZE, NOW_MS) == 0


def test_requests_of_about_one_size_are_of_one_kind() -> None:
    assert size_of("chat", 70, 300) is size_of("chat", 400, 512 - 1)
    assert size_of("chat", 0, 0) != size_of("chat", 1, 0) != size_of("chat", 1, 1)


def test_a_clock_that_stepped_back_makes_an_estimate_no_longer() -> None:
    assert least_ms(learned(*[500] * SEEN, -3_000)) == 0
