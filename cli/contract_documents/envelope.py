"""JSON Schema of an entry: CloudEvents in binary mode, every attribute a flat string field."""

from typing import Any

from cli.contract_documents.schemas import DIALECT, Schema
from shared.bus.envelope import SPEC_VERSION
from shared.events.base import Operation, Priority, ReplyMode
from shared.events.inference import MAX_REPLY_NAME_LENGTH

ENVELOPE_NAME = "envelope.schema.json"

_WHOLE_NUMBER = "^[1-9][0-9]*$"
_TRACEPARENT = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"


def _text(description: str, **keywords: Any) -> Schema:
    return {"description": description, "type": "string", **keywords}


ATTRIBUTES: dict[str, Schema] = {
    "specversion": _text("Version of CloudEvents.", const=SPEC_VERSION),
    "id": _text("Names the event: what is published again has the same id.", minLength=1),
    "type": _text("Contract with its version; the stream has the same name."),
    "source": _text("Who published it: a service by its name, or `cli`."),
    "time": _text("When it was published, in UTC, to the millisecond.", format="date-time"),
    "subject": _text("What the event is about: a request, model, node or task."),
    "correlationid": _text("Id of the event that began all this."),
    "causationid": _text("Id of the event that this one answers."),
    "traceparent": _text("W3C trace context.", pattern=_TRACEPARENT),
}

REQUIRED = ("specversion", "id", "type", "source", "time", "subject")

REQUEST_ATTRIBUTES: dict[str, Schema] = {
    "task": _text("Task from the configuration; it names the chain of candidates."),
    "priority": _text("Class of the request.", enum=list(Priority)),
    "principal": _text("Who asks. Set by Roundhouse, never taken from a producer's word."),
    "tenant": _text("On whose behalf the principal asks."),
    "dataclass": _text("How sensitive the data is; it decides where the request may run."),
    "model": _text("A model by name: no other one will answer."),
    "operation": _text("What is asked of the model.", enum=list(Operation)),
    "deadlinems": _text("Milliseconds from admission to the last moment.", pattern=_WHOLE_NUMBER),
    "maxtokens": _text("Most tokens that the answer may have.", pattern=_WHOLE_NUMBER),
    "inputbytes": _text("Size of the input in bytes.", pattern=_WHOLE_NUMBER),
    "replyto": _text(
        "Reply stream that gets the answer; empty: none.", maxLength=MAX_REPLY_NAME_LENGTH
    ),
    "replymode": _text("The answer at once, or piece by piece.", enum=list(ReplyMode)),
}

_MILLISECONDS = {"pattern": _WHOLE_NUMBER}

STORY_ATTRIBUTES: dict[str, Schema] = {
    "askedmodel": _text("The model that was asked for; `model` is then the one that was chosen."),
    "fingerprint": _text("SHA-1 of what was asked and the body: equal for equal requests."),
    "attempt": _text("The last attempt; 0: there was none.", pattern="^[0-9]+$"),
    "node": _text("Where the last attempt was sent."),
    "route": _text("Why the router sent it there."),
    "inboxentry": _text("Id of the inbox entry that was admitted: which use of the request's id."),
    "receivedms": _text(
        "When the store took the request: milliseconds since 1970, by its clock.", **_MILLISECONDS
    ),
    "admittedms": _text("When the router took it in, or refused it.", **_MILLISECONDS),
    "dispatchedms": _text("When the last attempt was given to its node.", **_MILLISECONDS),
    "startedms": _text("When its worker took it.", **_MILLISECONDS),
    "firstbytems": _text("When the first piece of the answer was sent.", **_MILLISECONDS),
}

BODY: dict[str, Schema] = {
    "data": _text("JSON of the event.", contentMediaType="application/json"),
    "dataref": _text("Key that holds the JSON of an event too large for its entry."),
}


def envelope_schema() -> Schema:
    """The fields of an entry. `$defs` tells the attributes of all events from those of some."""
    return {
        "$schema": DIALECT,
        "title": "Entry of a stream",
        "description": (
            "A CloudEvent in binary mode, as Roundhouse writes it; every field is a string. "
            "A foreign producer may write `data` alone to the stream of inference.requested."
        ),
        "type": "object",
        "allOf": [
            {"$ref": "#/$defs/Attributes"},
            {"$ref": "#/$defs/RequestAttributes"},
            {"$ref": "#/$defs/StoryAttributes"},
        ],
        "properties": BODY,
        "required": list(REQUIRED),
        "oneOf": [{"required": ["data"]}, {"required": ["dataref"]}],
        "$defs": {
            "Attributes": {
                "description": "Of every event.",
                "type": "object",
                "properties": ATTRIBUTES,
            },
            "RequestAttributes": {
                "description": "Of a request.",
                "type": "object",
                "properties": REQUEST_ATTRIBUTES,
            },
            "StoryAttributes": {
                "description": "Of the end of a request, and of a failed attempt.",
                "type": "object",
                "properties": STORY_ATTRIBUTES,
            },
        },
    }
