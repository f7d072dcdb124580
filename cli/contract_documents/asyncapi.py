"""AsyncAPI 3.0 document of a service.

Written here and not by FastStream's generator (0.7.8), which knows no address with a parameter (a
stream per node), no message headers (our attributes) and no reference to another file; it invents
a binding and a header for the correlation id, and names a host.
"""

from collections.abc import Iterable
from typing import Any

from cli.contract_documents.envelope import ENVELOPE_NAME, REQUIRED
from cli.contract_documents.schemas import schema_name, summary
from cli.contract_documents.services import ServiceContract
from shared.bus.keys import Keys
from shared.events.base import Event
from shared.events.inference import STORIES, InferenceRequested
from shared.settings import ServiceSettings

Document = dict[str, Any]

_PARTITION = "Name of the {}; each has a stream of its own."


def document_name(service: str) -> str:
    return f"{service}.asyncapi.json"


def asyncapi_document(service: ServiceContract, version: str) -> Document:
    events = sorted({*service.consumes, *service.publishes}, key=lambda event: event.type)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Roundhouse {service.name}",
            "version": version,
            "description": (
                f"Channels are Redis streams; this service's consumer group is `{service.name}`. "
                "A message's headers are flat fields of an entry, its payload is the field `data`."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"redis": _server()},
        "channels": {
            **{event.type: _channel(event, event.partition) for event in events},
            **{_beside(event): _channel(event, event.beside) for event in _read_beside(service)},
        },
        "operations": {
            **_operations("receive", service.consumes),
            **{
                f"receive{event.__name__}Of{str(event.beside).capitalize()}": _operation(
                    "receive", event, _beside(event)
                )
                for event in _read_beside(service)
            },
            **_operations("send", service.publishes),
        },
        "components": {"messages": {event.__name__: _message(event) for event in events}},
    }


def _server() -> Document:
    address = {"default": "127.0.0.1:6379", "description": "Host and port of REDIS_URL."}
    return {"host": "{address}", "protocol": "redis", "variables": {"address": address}}


def _read_beside(service: ServiceContract) -> list[type[Event]]:
    """Those of which it also reads streams that are somebody's own."""
    return [event for event in service.consumes if event.beside]


def _beside(event: type[Event]) -> str:
    return f"{event.type}:{event.beside}"


def _channel(event: type[Event], part: str | None) -> Document:
    keys = Keys(ServiceSettings.model_fields["key_prefix"].default)
    reference = {"$ref": f"#/components/messages/{event.__name__}"}
    channel: Document = {
        "address": keys.stream(event, part and f"{{{part}}}"),
        "messages": {event.__name__: reference},
    }
    if part:
        channel["parameters"] = {part: {"description": _PARTITION.format(part)}}
    return channel


def _operations(action: str, events: Iterable[type[Event]]) -> Document:
    return {f"{action}{event.__name__}": _operation(action, event, event.type) for event in events}


def _operation(action: str, event: type[Event], name: str) -> Document:
    channel = f"#/channels/{name}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{event.__name__}"}],
    }


def _message(event: type[Event]) -> Document:
    return {
        "name": event.type,
        "summary": summary(event),
        "headers": _headers(event),
        "correlationId": {"location": "$message.header#/correlationid"},
        "payload": {"$ref": schema_name(event.type)},
    }


def _headers(event: type[Event]) -> Document:
    groups = ["Attributes"]
    if event is InferenceRequested:
        groups.append("RequestAttributes")
    if event in STORIES:
        groups += ["RequestAttributes", "StoryAttributes"]
    references = [{"$ref": f"{ENVELOPE_NAME}#/$defs/{group}"} for group in groups]
    headers: Document = {"type": "object", "allOf": references}
    return headers if event is InferenceRequested else {**headers, "required": list(REQUIRED)}
