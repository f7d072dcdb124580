"""`why`."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import from_json

from cli.columns import visible
from cli.commands.options import Data, Json
from cli.errors import UserError
from cli.input import argument_text
from cli.residency import living
from cli.store import Connection, connected
from cli.why import Facts, Story, tell
from shared.bus.configuration import stored_configuration
from shared.bus.history import about, state_changes
from shared.bus.records import State
from shared.bus.requester import Lookup
from shared.bus.tail import redis_now_ms
from shared.events.inference import InferenceRequested
from shared.events.models import LocalModel, NodeHeartbeat

SLACK_MS = 2000
"""Workers say what they did a little after they did it."""

LOOKBACK_MS = 600_000
"""A load that was under way when the request came began before it."""

INBOX_LOOKBACK = 100
"""Entries: the router drains its inbox at once, so what it has not read is among the last."""

TOMBSTONE_MS = 3_600_000
"""An entry younger than that without a record was not admitted yet."""


def why(
    request: Annotated[str, typer.Argument(metavar="ID", help="Of the request.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Where a request's time went: waiting, loading, prefill, decode, and each decision.

    Requests are known until an hour after their end.

    Example: ./roundhouse why 019ab2c4f6e89a1b2c3d4e5f00000001
    """
    story = asyncio.run(_why(data, argument_text(request)))
    if as_json:
        typer.echo(json.dumps(asdict(story), indent=1))
        return
    typer.echo(visible(story.sentence))
    for step in story.steps:
        typer.echo(visible(f"{step.at_ms / 1000:>10.3f} s  {step.what}"))


async def _why(data: Path | None, request_id: str) -> Story:
    async with connected(data) as connection:
        found = await connection.requester().look_up(request_id)
        if found is None:
            raise await _unknown(connection, request_id)
        return tell(await _facts(connection, request_id, found))


async def _facts(connection: Connection, request_id: str, found: Lookup) -> Facts:
    client, keys, record = connection.client, connection.keys, found.record
    now_ms = await redis_now_ms(client)
    if record["state"] == State.CANCELLED_EARLY:
        return Facts(request_id, record, now_ms)
    from_ms, to_ms = int(record["admitted_ms"]), int(record.get("finished_ms") or now_ms)
    events = await about(client, keys, request_id, from_ms, to_ms + SLACK_MS)
    chain: Any = await client.get(keys.chain(request_id))
    waits_for = from_json(chain) if chain and record["state"] == State.WAITING else []
    tried = {model for _, event in events if (model := getattr(event, "model", None))}
    models = {*tried, *waits_for}
    changes = await state_changes(client, keys, models, from_ms - LOOKBACK_MS, to_ms)
    places = _places(await living(connection), waits_for) if waits_for else {}
    return Facts(request_id, record, now_ms, found.result, events, changes, places)


def _places(beats: Sequence[NodeHeartbeat], models: Sequence[str]) -> dict[str, str]:
    """Where each model is now, in words."""
    places = {}
    for model in models:
        held = [
            f"{each.state} on {beat.node}, {each.in_flight}/{each.slots} slots in use"
            for beat in beats
            for each in beat.resident
            if each.name == model
        ]
        offered = [
            _offer(beat, each) for beat in beats for each in beat.inventory if each.name == model
        ]
        left_out = [f"{beat.node}: {why}" for beat in beats if (why := beat.left_out.get(model))]
        unloaded = f"not loaded, offered by {', '.join(offered)}" if offered else "no living node"
        places[model] = ", ".join(held) or "; ".join([unloaded, *left_out])
    return places


def _offer(beat: NodeHeartbeat, local: LocalModel) -> str:
    problem = f", where its last load failed: {local.load_problem}" if local.load_problem else ""
    return beat.node + problem


async def _in_inboxes(connection: Connection) -> set[bytes | None]:
    """What the latest entries are called, whoever wrote them."""
    client, keys = connection.client, connection.keys
    config = await stored_configuration(client, keys)
    since_ms = await redis_now_ms(client) - TOMBSTONE_MS
    names: set[bytes | None] = set()
    for producer in (None, *config.producers):
        inbox = keys.stream(InferenceRequested, producer)
        rows: Any = await client.xrevrange(inbox, min=str(since_ms), count=INBOX_LOOKBACK)
        names |= {name for entry, fields in rows for name in (entry, fields.get(b"id"))}
    return names


async def _unknown(connection: Connection, request_id: str) -> UserError:
    if request_id.encode() not in await _in_inboxes(connection):
        return UserError(
            f"Nothing is known about {request_id}.",
            "Requests are known until an hour after their end, unless the store was flushed.",
        )
    if await connection.leads("router"):
        return UserError(
            f"{request_id} is published and not admitted yet.", "Ask again in a moment."
        )
    return UserError(
        f"{request_id} is published, and no router runs that could admit it.",
        "See ./roundhouse status",
    )
