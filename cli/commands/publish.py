"""`publish`."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from cli.commands.options import Data, Json
from cli.errors import UserError
from cli.exchange import attributes_of
from cli.input import parse, problems, read_text
from cli.store import connected
from shared.bus.ids import random_id, request_id
from shared.events import EVENTS
from shared.events.base import Event, Name, RequestId
from shared.events.inference import (
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRejected,
    InferenceRequested,
)
from shared.events.notifications import NotificationQueued
from shared.events.operations import DeadLetter

BY_SCRIPTS_ALONE = (
    InferenceCompleted,
    InferenceFailed,
    InferenceRejected,
    InferenceCancelled,
    DeadLetter,
    NotificationQueued,
)
"""Written in one step with what they say; by hand they would say what never happened."""

_ID: TypeAdapter[str] = TypeAdapter(RequestId)
_NAME: TypeAdapter[str] = TypeAdapter(Name)


def publish(
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Such as inference.requested")],
    file: Annotated[Path, typer.Argument(help="Its data as JSON; - reads it from the input.")],
    node: Annotated[
        str | None, typer.Option(help="Whose stream, for events that have one per node.")
    ] = None,
    event_id: Annotated[
        str | None,
        typer.Option("--id", help="Publishing twice with the same id publishes once."),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Publish an event after checking it against its contract; prints its id.

    With --json also the id of its entry, which is null where it was published before.

    Example: echo '{"input": "hello"}' | ./roundhouse publish inference.requested -
    """
    event_class = _class(event_type)
    _check_node(event_class, node)
    if event_id is not None:
        _check(_ID, event_id, "--id")
    event = parse(event_class, read_text(file), "The input" if str(file) == "-" else str(file))
    identity, entry = asyncio.run(_publish(data, event, node, event_id))
    if as_json:
        typer.echo(json.dumps({"type": event.type, "id": identity, "entry": entry}))
    else:
        typer.echo(identity)
        if entry is None:
            typer.secho("(It was published before; nothing was added.)", err=True, dim=True)


def _class(event_type: str) -> type[Event]:
    event_class = EVENTS.get(event_type) or EVENTS.get(f"{event_type}.v1")
    if event_class is None:
        raise UserError(f"There is no event {event_type}.", f"There are: {', '.join(EVENTS)}")
    if event_class in BY_SCRIPTS_ALONE:
        raise UserError(
            f"{event_class.type} is written by the bus alone, together with what it says.",
            "To end a request, publish inference.cancel_requested.",
        )
    return event_class


def _check_node(event_class: type[Event], node: str | None) -> None:
    if event_class.partition and node is None:
        raise UserError(
            f"{event_class.type} has one stream per node.",
            "Name the node with --node; ./roundhouse models shows them.",
        )
    if node is not None and not event_class.partition:
        raise UserError(f"{event_class.type} has one stream for all nodes.", "Leave --node out.")
    if node is not None:
        _check(_NAME, node, "--node")


def _check(kind: TypeAdapter[str], value: str, option: str) -> None:
    try:
        kind.validate_python(value)
    except ValidationError as error:
        said = problems(error).removeprefix("data: ")
        raise UserError(f"{option} {value!r}: {said}.", "Choose another one.") from error


async def _publish(
    data: Any, event: Event, node: str | None, event_id: str | None
) -> tuple[str, str | None]:
    async with connected(data) as connection:
        if isinstance(event, InferenceRequested):
            identity = event_id or request_id()
            body = event.model_dump_json(exclude_none=True).encode()
            extensions = attributes_of(event, len(body))
            return identity, await connection.requester().publish(identity, body, extensions)
        identity = event_id or random_id()
        return identity, await connection.publish(event, identity, node)
