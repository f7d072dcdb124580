"""Recorded examples: what was once on the bus must be understood for ever."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic_core import from_json

from cli.address import ROOT
from cli.contract_documents.envelope import envelope_schema
from cli.contract_documents.schemas import event_schema
from cli.contract_documents.tree import CONTRACTS
from shared.bus.envelope import envelope
from shared.events import EVENTS

EXAMPLES = ROOT / CONTRACTS / "examples"
RECORDED = sorted(EXAMPLES.glob("*/*.json"))


each_example = pytest.mark.parametrize(
    "path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}"
)


def test_every_event_has_an_example_and_every_example_an_event() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == EVENTS.keys()
    assert {path.parent.name for path in RECORDED} == EVENTS.keys()


@each_example
def test_the_example_still_parses_and_nothing_in_it_is_ignored(path: Path) -> None:
    event = EVENTS[path.parent.name]
    recorded = from_json(path.read_bytes())

    parsed = event.model_validate_json(path.read_bytes())

    assert parsed.model_dump(mode="json", exclude_unset=True) == recorded


@each_example
def test_the_example_is_valid_by_the_schema_as_it_was_recorded(path: Path) -> None:
    validator = Draft202012Validator(event_schema(EVENTS[path.parent.name]))

    assert list(validator.iter_errors(from_json(path.read_bytes()))) == []


@each_example
def test_the_example_is_valid_by_the_schemas_as_the_bus_would_publish_it(path: Path) -> None:
    event = EVENTS[path.parent.name].model_validate_json(path.read_bytes())

    fields = [str(field) for field in envelope(event, "a-service")]
    entry = dict(zip(fields[::2], fields[1::2], strict=True))

    assert list(Draft202012Validator(envelope_schema()).iter_errors(entry)) == []
    body = Draft202012Validator(event_schema(type(event)))
    assert list(body.iter_errors(from_json(entry["data"]))) == []
