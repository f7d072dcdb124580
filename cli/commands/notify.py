"""`notify`: who is told of what happens, and what waits for whom."""

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from pydantic import ValidationError

from cli.columns import columns, visible
from cli.commands.options import Data, Json
from cli.errors import UserError
from cli.input import argument_text
from cli.points_in_time import since_ms
from cli.questions import ask
from cli.store import Connection, connected
from shared.bus.configuration import stored_configuration
from shared.bus.notifications import NOTIFIER, waiting
from shared.bus.tail import redis_now_ms
from shared.config import EndpointConfig
from shared.events.notifications import NotificationRedeliveryRequested, NotificationTestRequested

HELP = """The endpoints that are told of what happens: webhooks, and what waits for them.

Example: ./roundhouse notify list
"""

MARGIN_S = 5.0
REDELIVERY_S = 60.0

notify = typer.Typer(no_args_is_help=True, help=HELP)

Name = Annotated[str, typer.Argument(metavar="ENDPOINT", help="As `notify list` shows it.")]


@dataclass(frozen=True)
class Row:
    """`state`: `on`; `resting`, as the receiver asked; or `off`, since it answered 410."""

    endpoint: str
    receiver: str
    events: tuple[str, ...]
    state: str
    undelivered: int
    oldest_s: float | None
    next_attempt_s: float | None


@notify.command("list")
def list_endpoints(data: Data = None, as_json: Json = False) -> None:
    """All endpoints, and what they have not been told yet.

    Example: ./roundhouse notify list --json
    """
    rows = asyncio.run(_rows(data))
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
    elif not rows:
        typer.echo("No endpoints are configured; see endpoints in roundhouse.example.yaml")
    else:
        headings = ("endpoint", "receiver", "state", "undelivered", "oldest", "next attempt in")
        typer.echo(columns(headings, [_cells(row) for row in rows]))


@notify.command("test")
def send_test(endpoint: Name, data: Data = None, as_json: Json = False) -> None:
    """Send one signed test now, past the queue. Exit code 1 unless the receiver takes it.

    An endpoint that was switched off and takes it is switched on again.

    Example: ./roundhouse notify test n8n
    """
    said = asyncio.run(_test(data, argument_text(endpoint)))
    if as_json:
        typer.echo(json.dumps({"endpoint": endpoint, **said}))
    else:
        what = f"HTTP {said['status']}" if "status" in said else said["message"]
        typer.echo(visible(f"{endpoint}: {what}, after {said['duration_ms']} ms"))
    if not said["ok"]:
        raise typer.Exit(1)


@notify.command()
def redeliver(
    endpoint: Name,
    failed: Annotated[bool, typer.Option("--failed", help="Its dead letters.")] = False,
    since: Annotated[
        str | None, typer.Option(help="All since then: 2h, or 2026-11-21T08:00.")
    ] = None,
    notification: Annotated[
        str | None, typer.Option("--id", help="One, by its webhook-id.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Tell an endpoint again, under the same webhook-ids. What still waits is not doubled.

    Example: ./roundhouse notify redeliver n8n --since 2h
    """
    if sum((failed, since is not None, notification is not None)) != 1:
        raise UserError("It is not clear what to send.", "Give one of --failed, --since and --id.")
    said = asyncio.run(_redeliver(data, argument_text(endpoint), failed, since, notification))
    if as_json:
        typer.echo(json.dumps({"endpoint": endpoint, **said}))
        return
    also = f"; {said['waiting']} wait for their delivery anyway" if said["waiting"] else ""
    typer.echo(f"{endpoint}: {said['queued']} queued again{also}.")


async def _rows(data: Path | None) -> list[Row]:
    async with connected(data) as connection:
        config = await stored_configuration(connection.client, connection.keys)
        return [await _row(connection, *each) for each in config.endpoints.items()]


async def _row(connection: Connection, name: str, endpoint: EndpointConfig) -> Row:
    found = await waiting(connection.client, connection.keys, name)
    now_ms = await redis_now_ms(connection.client)
    resting = found.rests_until_ms is not None and found.rests_until_ms > now_ms
    parts = urlsplit(endpoint.url)
    return Row(
        endpoint=name,
        receiver=f"{parts.scheme}://{parts.netloc}",
        events=endpoint.events,
        state="off" if found.off else "resting" if resting else "on",
        undelivered=found.undelivered,
        oldest_s=_seconds(now_ms, found.oldest_ms),
        next_attempt_s=_seconds(found.next_ms, now_ms),
    )


def _seconds(later_ms: int | None, earlier_ms: int | None) -> float | None:
    if later_ms is None or earlier_ms is None:
        return None
    return max(0, later_ms - earlier_ms) / 1000


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.endpoint,
        row.receiver,
        row.state,
        str(row.undelivered),
        "" if row.oldest_s is None else f"{row.oldest_s:.0f} s",
        "" if row.next_attempt_s is None else f"{row.next_attempt_s:.0f} s",
    )


async def _test(data: Path | None, name: str) -> dict[str, Any]:
    async with connected(data) as connection:
        endpoint = await _configured(connection, name)
        command = NotificationTestRequested(endpoint=name)
        return await ask(connection, command, NOTIFIER, endpoint.timeout_s + MARGIN_S)


async def _redeliver(
    data: Path | None, name: str, failed: bool, since: str | None, notification: str | None
) -> dict[str, Any]:
    async with connected(data) as connection:
        await _configured(connection, name)
        try:
            command = NotificationRedeliveryRequested(
                endpoint=name,
                failed=failed,
                since_ms=since_ms(since),
                notification_id=notification,
            )
        except ValidationError as error:
            raise UserError(
                f"{notification!r} is no webhook-id.", "Copy it from the receiver's log."
            ) from error
        return await ask(connection, command, NOTIFIER, REDELIVERY_S)


async def _configured(connection: Connection, name: str) -> EndpointConfig:
    config = await stored_configuration(connection.client, connection.keys)
    if name in config.endpoints:
        return config.endpoints[name]
    known = ", ".join(sorted(config.endpoints))
    raise UserError(
        f"No endpoint {name!r} is in force.",
        f"There are: {known}"
        if known
        else "Add one to endpoints in roundhouse.yaml, then ./roundhouse apply",
    )
