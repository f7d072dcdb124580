"""A queue by time, from which any entry may leave."""

from hypothesis import given
from hypothesis import strategies as st

from services.router.policy.timeline import Entry, Timeline
from tests.fakes.world import law, waiting


def timeline_of(times_ms: list[int]) -> tuple[Timeline, list[Entry]]:
    timeline = Timeline()
    entries = [Entry(waiting(f"r{order}"), order) for order in range(len(times_ms))]
    for at_ms, entry in zip(times_ms, entries, strict=True):
        timeline.push(at_ms, entry)
    return timeline, entries


def test_an_entry_is_due_at_its_time() -> None:
    timeline, (late, early) = timeline_of([20, 10])

    assert timeline.pop_due(9) is None
    assert timeline.pop_due(10) is early
    assert timeline.pop_due(19) is None
    assert timeline.pop_due(20) is late
    assert timeline.pop_due(20) is None


@law
@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1)), max_size=40))
def test_length_and_head_are_those_of_the_living(arrivals: list[tuple[int, float]]) -> None:
    timeline, entries = timeline_of([at_ms for at_ms, _ in arrivals])
    living = {(at_ms, order) for order, (at_ms, _) in enumerate(arrivals)}

    for order in sorted(range(len(arrivals)), key=lambda order: arrivals[order][1]):
        entries[order].alive = False
        timeline.buried()
        living.discard((arrivals[order][0], order))

        head = timeline.head()
        assert (head[:2] if head else None) == min(living, default=None)
        assert len(timeline) == len(living)
