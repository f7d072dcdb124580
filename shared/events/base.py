"""What every event has in common, and the rule by which contracts change."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$")]
"""A model, task, node or principal: printable, no spaces, at most 128 characters."""

LOCAL = "local"
"""The principal of all that is written on shared streams, as long as nobody has a key."""

REQUEST_ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"

RequestId = Annotated[str, StringConstraints(pattern=REQUEST_ID)]
"""The id of a request: the `id` attribute of its `inference.requested` entry."""


class Value(BaseModel):
    """A part of an event: frozen, and tolerant of fields that a newer publisher added."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        json_schema_serialization_defaults_required=True,
    )


class Event(Value):
    """The `data` of one entry on the bus. Immutable once published.

    Adding an optional field is a compatible change. Anything else is a new class on a new
    `.vN` stream, published beside the old one until no consumer group reads that any more.
    """

    type: ClassVar[str]
    """Contract name with version, which is also the stream's name."""

    subject_field: ClassVar[str]
    """The field that says what the event is about; it becomes the `subject` attribute."""

    partition: ClassVar[str | None] = None
    """`node` or `endpoint` where each of them has a stream of its own, `<type>:<name>`."""

    beside: ClassVar[str | None] = None
    """`producer` where each of them may have a stream of its own beside the shared one."""

    sampled: ClassVar[bool] = False
    """True for readings that are outdated by the next one: random ids, short retention."""

    @property
    def subject(self) -> str:
        return str(getattr(self, self.subject_field))


class Priority(StrEnum):
    """Classes of requests, most urgent first."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    NORMAL = "NORMAL"
    LOW = "LOW"


class Operation(StrEnum):
    """What a request asks of a model; named after the OpenAI endpoint that it would call."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"


class ReplyMode(StrEnum):
    FINAL = "final"
    CHUNKS = "chunks"
