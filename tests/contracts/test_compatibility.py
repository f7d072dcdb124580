"""What the gate calls a breaking change, on contracts small enough to see it."""

from typing import Any

import pytest

from cli.contract_documents.compatibility import breaking_changes
from cli.contract_documents.schemas import event_schema
from shared.events import EVENTS
from shared.events.base import Event

Schema = dict[str, Any]


def contract(properties: Schema, required: tuple[str, ...] = (), **keywords: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), **keywords}


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
OPTIONAL_TEXT = {"anyOf": [TEXT, {"type": "null"}], "default": None}
STATE = {"State": {"type": "string", "enum": ["loading", "ready"]}}
STATE_AND_STUCK = {"State": {"type": "string", "enum": ["loading", "ready", "stuck"]}}
DEVICE = {"type": "array", "items": contract({"uuid": TEXT, "index": NUMBER}, ("uuid",))}
DEVICE_WITHOUT_INDEX = {"type": "array", "items": contract({"uuid": TEXT}, ("uuid",))}
A_STATE = contract({"state": {"$ref": "#/$defs/State"}}, ("state",), **{"$defs": STATE})

BREAKING = {
    "a property is removed": (
        contract({"a": TEXT, "b": TEXT}),
        contract({"a": TEXT}),
        "b: removed",
    ),
    "a new property is required": (
        contract({"a": TEXT}, ("a",)),
        contract({"a": TEXT, "b": TEXT}, ("a", "b")),
        "b: new, and required",
    ),
    "an optional property becomes required": (
        contract({"a": TEXT}),
        contract({"a": TEXT}, ("a",)),
        "a: now required",
    ),
    "readers may no longer rely on a property": (
        contract({"a": TEXT}, ("a",)),
        contract({"a": TEXT}),
        "a: no longer required",
    ),
    "a type changes": (
        contract({"a": TEXT}),
        contract({"a": NUMBER}),
        "a: type was 'string', is 'integer'",
    ),
    "a type changes inside an optional": (
        contract({"a": OPTIONAL_TEXT}),
        contract({"a": {"anyOf": [NUMBER, {"type": "null"}], "default": None}}),
        "a: type was 'string', is 'integer'",
    ),
    "null is no longer allowed": (
        contract({"a": {"anyOf": [TEXT, {"type": "null"}]}}),
        contract({"a": {"anyOf": [TEXT]}}),
        "a: anyOf was [{'type': 'string'}, {'type': 'null'}], is [{'type': 'string'}]",
    ),
    "an enum is narrowed": (
        A_STATE | {"$defs": STATE_AND_STUCK},
        A_STATE,
        "state: no longer allows 'stuck'",
    ),
    "an enum is widened": (
        A_STATE,
        A_STATE | {"$defs": STATE_AND_STUCK},
        "state: now allows 'stuck'",
    ),
    "a pattern is tightened": (
        contract({"a": TEXT}),
        contract({"a": TEXT | {"pattern": "^[a-z]+$"}}),
        "a: pattern was None, is '^[a-z]+$'",
    ),
    "a bound is tightened": (
        contract({"a": NUMBER | {"maximum": 100}}),
        contract({"a": NUMBER | {"maximum": 10}}),
        "a: maximum was 100, is 10",
    ),
    "a bound is loosened": (
        contract({"a": NUMBER | {"maximum": 10}}),
        contract({"a": NUMBER}),
        "a: maximum was 10, is None",
    ),
    "a default changes": (
        contract({"a": TEXT | {"default": "stop"}}),
        contract({"a": TEXT | {"default": "length"}}),
        "a: default was 'stop', is 'length'",
    ),
    "a list's items lose a property": (
        contract({"devices": DEVICE}),
        contract({"devices": DEVICE_WITHOUT_INDEX}),
        "devices[].index: removed",
    ),
    "an object's values change": (
        contract({"waiting": {"type": "object", "additionalProperties": NUMBER}}),
        contract({"waiting": {"type": "object", "additionalProperties": TEXT}}),
        "waiting{}: type was 'integer', is 'string'",
    ),
    "the stream is split by node": (
        contract({"a": TEXT}) | {"x-partition": None},
        contract({"a": TEXT}) | {"x-partition": "node"},
        "(the event): x-partition was None, is 'node'",
    ),
}

COMPATIBLE = {
    "nothing changes": (A_STATE, A_STATE),
    "an optional property is added": (
        contract({"a": TEXT}, ("a",)),
        contract({"a": TEXT, "b": OPTIONAL_TEXT}, ("a",)),
    ),
    "a part of an event gains an optional property": (
        contract({"usage": contract({"in": NUMBER}) | {"default": {"in": 0}}}),
        contract(
            {"usage": contract({"in": NUMBER, "out": NUMBER}) | {"default": {"in": 0, "out": 0}}}
        ),
    ),
    "a description is written": (
        contract({"a": TEXT}),
        contract({"a": TEXT | {"description": "what it is"}}, description="said better"),
    ),
    "a definition is renamed": (
        A_STATE,
        contract(
            {"state": {"$ref": "#/$defs/ModelState"}},
            ("state",),
            **{"$defs": {"ModelState": STATE["State"]}},
        ),
    ),
}


@pytest.mark.parametrize(("released", "current", "told"), BREAKING.values(), ids=BREAKING)
def test_the_gate_reports_that(released: Schema, current: Schema, told: str) -> None:
    assert breaking_changes(released, current) == [told]


@pytest.mark.parametrize(("released", "current"), COMPATIBLE.values(), ids=COMPATIBLE)
def test_the_gate_lets_pass_that(released: Schema, current: Schema) -> None:
    assert breaking_changes(released, current) == []


def test_every_break_of_a_contract_is_reported_at_once() -> None:
    released = contract({"a": TEXT, "b": NUMBER}, ("a",))
    current = contract({"b": TEXT, "c": TEXT}, ("c",))

    assert breaking_changes(released, current) == [
        "a: removed",
        "b: type was 'integer', is 'string'",
        "c: new, and required",
    ]


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_no_property_of_a_real_event_can_be_lost_unnoticed(event: type[Event]) -> None:
    schema = event_schema(event)
    assert breaking_changes(schema, schema) == []

    for name in schema["properties"]:
        without = {key: value for key, value in schema["properties"].items() if key != name}
        assert f"{name}: removed" in breaking_changes(schema, schema | {"properties": without})
