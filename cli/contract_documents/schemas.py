"""JSON Schema of each event's `data`."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from shared.events.base import Event

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_name(event_type: str) -> str:
    """File name of a contract's schema, beside which documents may refer to it."""
    return f"{event_type}.schema.json"


def summary(event: type[Event]) -> str:
    """The first sentence that the code says about an event."""
    return (event.__doc__ or "").partition("\n")[0]


def event_schema(event: type[Event]) -> Schema:
    """What must be in `data` for the event to be understood.

    In validation mode: fields with a default are optional, because publishers leave out what is
    null, foreign ones leave out more, and a recorded example must stay valid when a field is added.
    """
    schema = event.model_json_schema(schema_generator=_Untitled, mode="validation")
    definitions = schema.pop("$defs", None)
    return {
        "$schema": DIALECT,
        "title": event.type,
        **_without_title(schema),
        "x-subject": event.subject_field,
        "x-partition": event.partition,
        "x-sampled": event.sampled,
        **({"$defs": definitions} if definitions else {}),
    }


class _Untitled(GenerateJsonSchema):
    """Leaves out titles that only repeat the names of properties."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def _without_title(schema: Schema) -> Schema:
    return {keyword: value for keyword, value in schema.items() if keyword != "title"}
