"""The generated JSON Schemas say the same as the code."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cli.address import ROOT
from cli.contract_documents.envelope import ATTRIBUTES, REQUEST_ATTRIBUTES, envelope_schema
from cli.contract_documents.schemas import event_schema, schema_name, summary
from cli.contract_documents.tree import generate
from shared.bus.envelope import REQUEST_ATTRIBUTES as ATTRIBUTES_OF_REQUESTS
from shared.bus.envelope import Entry, envelope
from shared.events import EVENTS
from shared.events.base import Event
from shared.events.inference import InferenceRequested, InferenceStarted

CAUSE = Entry(
    "rh:inference.requested.v1",
    "1773480300123-0",
    {b"id": b"nightly-report", b"traceparent": b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"},
)


def entry(event: Event) -> dict[str, str]:
    fields = [str(field) for field in envelope(event, "worker", cause=CAUSE)]
    return dict(zip(fields[::2], fields[1::2], strict=True))


STARTED = entry(InferenceStarted(request_id="r1", attempt=1, node="gpu-1", model="qwen-7b"))


def is_valid(schema: dict[str, Any], document: object) -> bool:
    return bool(Draft202012Validator(schema).is_valid(document))


def test_there_is_a_schema_for_every_event_and_one_for_the_entry_around_it() -> None:
    expected = {schema_name(event_type) for event_type in EVENTS} | {"envelope.schema.json"}

    assert generate(ROOT).schemas.keys() == expected
    assert len(expected) > 20


@pytest.mark.parametrize("name", sorted(generate(ROOT).schemas))
def test_each_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(generate(ROOT).schemas[name])


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_each_event_says_in_one_line_what_it_is(event: type[Event]) -> None:
    assert summary(event).endswith(".")


def test_a_foreign_producer_needs_to_send_no_more_than_its_input() -> None:
    schema = event_schema(InferenceRequested)

    assert is_valid(schema, {"input": "Why is the sky blue?"})
    assert not is_valid(schema, {"prompt": "Why is the sky blue?"})
    assert not is_valid(schema, {"input": "hello", "priority": "URGENT"})
    assert not is_valid(schema, {"input": "hello", "deadline_ms": 0})


def test_an_entry_as_the_bus_writes_it_is_valid_and_fully_documented() -> None:
    assert is_valid(envelope_schema(), STARTED)
    assert STARTED.keys() - {"data"} == ATTRIBUTES.keys()


@pytest.mark.parametrize("missing", ["id", "type", "source", "time", "subject", "data"])
def test_an_entry_without_one_of_its_parts_is_not_valid(missing: str) -> None:
    rest = {name: value for name, value in STARTED.items() if name != missing}

    assert not is_valid(envelope_schema(), rest)


def test_an_entry_carries_its_body_or_names_it_but_not_both() -> None:
    by_reference = {name: value for name, value in STARTED.items() if name != "data"}
    by_reference["dataref"] = "rh:blob:nightly-report"

    assert is_valid(envelope_schema(), by_reference)
    assert not is_valid(envelope_schema(), by_reference | {"data": "{}"})


def test_the_attributes_of_a_request_are_those_that_the_bus_copies() -> None:
    assert tuple(REQUEST_ATTRIBUTES) == ATTRIBUTES_OF_REQUESTS
