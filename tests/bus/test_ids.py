"""Ids say the same for the same fact, for ever."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from shared.bus.ids import (
    attempt_id,
    derived_id,
    final_id,
    idempotent_request_id,
    new_traceparent,
    random_id,
    request_id,
)

NAMES = st.text(st.characters(exclude_characters="\x1f", exclude_categories=["Cs"]), max_size=20)


def test_derived_ids_never_change() -> None:
    assert derived_id("node.lost.v1", "n1") == "fc68ca0e-d79d-517d-a4d3-2b225bae01c8"
    assert derived_id("inference.routed.v1", "r1", "2") == "14080805-85ac-5cb5-a3fb-b2aec9c749a2"
    assert final_id("r1", "5-0") == "bcd4971f-0c74-5b93-8a5b-a1825df69941"
    assert (
        attempt_id("inference.started.v1", "r1", "5-0", 2) == "5ee2be71-b571-5dba-8727-6b52f8eb3eed"
    )
    assert idempotent_request_id("local", "key-1") == "53ef643222e15263bff1c33198219fae"


@given(NAMES, NAMES, NAMES)
def test_the_same_fact_has_the_same_id(event_type: str, subject: str, ordinal: str) -> None:
    assert derived_id(event_type, subject, ordinal) == derived_id(event_type, subject, ordinal)


@given(st.lists(st.tuples(NAMES, NAMES, NAMES), unique=True, max_size=20))
def test_different_facts_have_different_ids(facts: list[tuple[str, str, str]]) -> None:
    assert len({derived_id(*fact) for fact in facts}) == len(facts)


def test_a_final_event_is_no_other_fact_about_its_request() -> None:
    types = ("inference.completed.v1", "inference.failed.v1", "final", "")
    ordinals = ("", "final", "final@", "final@5-0")
    derived = {derived_id(kind, "r1", ordinal) for kind, ordinal in product(types, ordinals)}

    assert not {final_id("r1"), final_id("r1", "5-0")} & derived


def test_every_use_of_a_request_id_has_events_of_its_own() -> None:
    uses = ("", "5-0", "5-1", "50-0")

    assert len({final_id("r1", entry) for entry in uses}) == len(uses)
    told = {
        attempt_id("inference.stop_requested.v1", "r1", entry, attempt, reason)
        for entry, attempt, reason in product(uses, (1, 15), ("", "cancelled", "preempted"))
    }
    assert len(told) == len(uses) * 2 * 3


def test_an_idempotency_key_belongs_to_its_principal() -> None:
    assert idempotent_request_id("a", "key") != idempotent_request_id("b", "key")
    assert idempotent_request_id("a", "bkey") != idempotent_request_id("ab", "key")


def test_request_ids_sort_by_the_order_in_which_they_were_made() -> None:
    ids = [request_id() for _ in range(1000)]

    assert len(set(ids)) == 1000
    assert [each[:24] for each in ids] == sorted(each[:24] for each in ids)
    assert {len(each) for each in ids} == {32}


def test_random_ids_and_traces_are_new_each_time() -> None:
    assert random_id() != random_id()
    version, trace, span, flags = new_traceparent().split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
    assert trace not in new_traceparent()
