"""Which endpoints hear of an event, and what they are told. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.config import EndpointConfig

DEAD_LETTER = "dead_letter"
UNCLASSIFIED = "internal"
"""The data class of what says none."""

OF_A_REQUEST = ("task", "priority", "principal", "tenant")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event as receivers see it: its type without version, and the attributes of its entry."""

    event: str
    id: str
    time: str
    at_ms: int
    """When the store took it."""
    data: Mapping[str, Any]
    attributes: Mapping[str, str] = field(default_factory=dict)
    letter: str | None = None
    """The id of a dead letter."""
    undelivered: tuple[str, str] | None = None
    """Of a dead letter that was a notification: its endpoint, and what it would have told of."""

    @property
    def dataclass(self) -> str:
        return self.attributes.get("dataclass") or UNCLASSIFIED


def hears(name: str, endpoint: EndpointConfig, occurrence: Occurrence, since_ms: int) -> bool:
    """Whether this endpoint is to be told. What was before it was configured is not its concern."""
    if occurrence.event not in endpoint.events or occurrence.at_ms < since_ms:
        return False
    if occurrence.event != DEAD_LETTER:
        return not endpoint.tasks or occurrence.attributes.get("task") in endpoint.tasks
    if occurrence.undelivered is None:
        return True
    # Else two endpoints that are both down would tell each other of each other for ever.
    receiver, told_of = occurrence.undelivered
    return receiver != name and told_of != DEAD_LETTER


def data_of(occurrence: Occurrence) -> dict[str, Any]:
    """What stands in `data` of the webhook."""
    about = {"id": occurrence.id}
    if traceparent := occurrence.attributes.get("traceparent"):
        about["traceparent"] = traceparent
    if occurrence.event == DEAD_LETTER:
        return {**occurrence.data, "letter": occurrence.letter, "event": about, "request": None}
    known = occurrence.attributes
    request = {
        "id": occurrence.data.get("request_id"),
        **{name: known.get(name) or None for name in OF_A_REQUEST},
        "dataclass": occurrence.dataclass,
        "model": known.get("model") or occurrence.data.get("model"),
    }
    return {**occurrence.data, "event": about, "request": request}
