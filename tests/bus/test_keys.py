"""The names of keys: one prefix, and no two things under one name."""

import pytest

from shared.bus.keys import Keys
from shared.events import EVENTS
from shared.events.base import Priority
from shared.events.inference import InferenceDispatched, InferenceRequested

CELL = Keys("rh:{cell-1}:")
NAMED = ("request", "body", "context", "chain", "result", "waiters", "reply", "blob", "published")


def all_keys(keys: Keys, name: str = "x") -> list[str]:
    named = [getattr(keys, method)(name) for method in (*NAMED, "node", "lease", "fence")]
    streams = [keys.stream(event) for event in EVENTS.values()]
    waiting = [keys.waiting(priority) for priority in Priority]
    return [*named, *streams, *waiting, keys.flight, keys.config, keys.absent]


def test_every_key_begins_with_the_cells_prefix_so_that_scripts_share_a_slot() -> None:
    assert all(key.startswith("rh:{cell-1}:") for key in all_keys(CELL))


def test_no_two_things_share_a_key() -> None:
    keys = all_keys(Keys())

    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", ["x", "request:x", "a:b", "waiting:HIGH", ""])
def test_a_name_from_outside_cannot_reach_another_kind_of_key(name: str) -> None:
    fixed = {*all_keys(Keys(), "some-other-name")}

    assert not fixed & {getattr(Keys(), method)(name) for method in NAMED}


def test_a_stream_is_named_like_its_contract_and_a_part_of_it_like_its_node() -> None:
    assert Keys().stream(InferenceRequested) == "rh:inference.requested.v1"
    assert Keys().stream(InferenceRequested, "crm") == "rh:inference.requested.v1:crm"
    assert CELL.stream(InferenceDispatched, "n1") == "rh:{cell-1}:inference.dispatched.v1:n1"


def test_a_record_names_its_keys_as_the_scripts_do() -> None:
    record = Keys().record("r1")

    assert record["request"] == "rh:request:r1"
    assert {"request", "body", "context", "chain", "result", "waiters", "flight"} <= record.keys()
