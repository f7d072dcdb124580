"""An entry is a CloudEvent in binary mode: flat attributes, and the body in one field."""

from datetime import UTC, datetime

import pytest

from shared.bus.envelope import Entry, decode, envelope
from shared.bus.ids import derived_id
from shared.events.models import ModelActionRequested, NodeHeartbeat, NodeLost

LOST = NodeLost(node="n1", silent_ms=6100)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def fields_of(flat: list[str | bytes]) -> dict[str, str]:
    names, values = flat[::2], flat[1::2]
    assert len(names) == len(values) == len(set(names))
    return {str(name): str(value) for name, value in zip(names, values, strict=True)}


def entry(**fields: str | bytes) -> Entry:
    raw = {
        name.encode(): value.encode() if isinstance(value, str) else value
        for name, value in fields.items()
    }
    return Entry("rh:x.v1", "1700000000123-4", raw)


def test_an_event_has_the_attributes_of_a_cloud_event() -> None:
    fields = fields_of(envelope(LOST, "router"))

    assert datetime.fromisoformat(fields.pop("time")).tzinfo == UTC
    assert fields == {
        "specversion": "1.0",
        "id": derived_id("node.lost.v1", "n1"),
        "type": "node.lost.v1",
        "source": "router",
        "subject": "n1",
        "data": '{"node":"n1","silent_ms":6100}',
    }


def test_two_losses_of_one_node_differ_by_their_ordinal() -> None:
    first, again, second = (
        fields_of(envelope(LOST, "router", ordinal=ordinal))["id"] for ordinal in ("1", "1", "2")
    )

    assert first == again != second


def test_samples_have_random_ids() -> None:
    beat = NodeHeartbeat(node="n1", instance="w1", inventory=(), resident=(), in_flight=0)

    assert fields_of(envelope(beat, "worker"))["id"] != fields_of(envelope(beat, "worker"))["id"]


def test_an_absent_part_is_absent_from_the_data() -> None:
    action = ModelActionRequested(model="m1", action="load")

    assert fields_of(envelope(action, "cli"))["data"] == '{"model":"m1","action":"load"}'


def test_what_follows_from_an_event_says_so() -> None:
    cause = entry(id="e1", correlationid="r1", traceparent=TRACEPARENT)

    fields = fields_of(envelope(LOST, "router", cause=cause))

    assert (fields["correlationid"], fields["causationid"]) == ("r1", "e1")
    assert fields["traceparent"] == TRACEPARENT


def test_the_first_event_of_a_chain_is_what_the_rest_correlates_with() -> None:
    fields = fields_of(envelope(LOST, "router", cause=entry(id="e1")))

    assert (fields["correlationid"], fields["causationid"]) == ("e1", "e1")
    assert "traceparent" not in fields


def test_a_cause_without_an_id_is_named_by_its_entry() -> None:
    fields = fields_of(envelope(LOST, "router", cause=entry(data="{}")))

    assert (fields["correlationid"], fields["causationid"]) == ("1700000000123-4",) * 2


def test_an_event_decodes_to_what_was_published() -> None:
    flat = fields_of(envelope(LOST, "router"))

    message = decode(NodeLost, entry(**flat, traceparent=TRACEPARENT))

    assert message.event == LOST
    assert (message.id, message.traceparent) == (flat["id"], TRACEPARENT)


@pytest.mark.parametrize("data", ["", "{", "{}", "[]", b"\xff"])
def test_data_that_is_not_the_event_is_a_value_error(data: str | bytes) -> None:
    with pytest.raises(ValueError, match="NodeLost"):
        decode(NodeLost, entry(data=data))


def test_an_entry_is_read_without_being_decoded() -> None:
    odd = entry(id=b"\xff", data="{}")

    assert odd.milliseconds == 1700000000123
    assert (odd.text("absent"), odd.data) == ("", b"{}")
    with pytest.raises(UnicodeDecodeError):
        odd.text("id")
