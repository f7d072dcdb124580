"""`requests`: those under way, and those that ended lately."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.columns import columns, visible
from cli.commands.options import Data, Json
from cli.errors import UserError
from cli.exchange import answer
from cli.input import argument_text
from cli.requests import Stage, Wanted, cancel, check_router, find, pages
from cli.store import connected
from shared.bus.listing import Listed
from shared.bus.requester import Lookup
from shared.bus.tail import redis_now_ms
from shared.events.base import Priority

HELP = """Requests: what waits and runs, and what ended within the last hour.

Example: ./roundhouse requests list --state waiting --task chat
"""

REASON = "cancelled from the command line"

requests = typer.Typer(invoke_without_command=True)

State = Annotated[Stage | None, typer.Option(case_sensitive=False, help="Only those.")]
OfPriority = Annotated[Priority | None, typer.Option(case_sensitive=False, help="Only those.")]
Task = Annotated[str | None, typer.Option(help="Only those of this task.")]
Model = Annotated[str | None, typer.Option(help="Only those for this model.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")]


@requests.callback(help=HELP)
def default(context: typer.Context, data: Data = None, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_requests(data=data, as_json=as_json)


@requests.command("list")
def list_requests(
    state: State = None,
    priority: OfPriority = None,
    task: Task = None,
    model: Model = None,
    limit: Limit = 20,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """What runs, what waits and what ended lately, the newest first.

    Example: ./roundhouse requests list --state final --limit 50
    """
    found, now_ms = asyncio.run(_find(data, Wanted(state, priority, task, model), limit))
    if as_json:
        typer.echo(json.dumps([_document(each) for each in found], indent=1))
    elif not found:
        typer.echo("There are no such requests.")
    else:
        headings = ("id", "state", "priority", "task", "model", "node", "age", "why")
        typer.echo(columns(headings, [_cells(each, now_ms) for each in found]))


@requests.command()
def show(
    request: Annotated[str, typer.Argument(metavar="ID", help="Of the request.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """What is kept about one request, with its answer.

    Example: ./roundhouse requests show 019ab2c4f6e89a1b2c3d4e5f00000001
    """
    found = asyncio.run(_look_up(data, argument_text(request)))
    if as_json:
        typer.echo(json.dumps({"record": found.record, "result": found.result}, indent=1))
        return
    for name, value in found.record.items():
        typer.echo(visible(f"{name}: {value}"))
    if found.result is not None:
        is_answer = "output" in found.result
        said = answer(found.result) if is_answer else found.result.get("message", "")
        typer.echo(visible(f"\n{said}"))


@requests.command("cancel")
def cancel_requests(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Which ones.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All that wait or run, narrowed down by the options.")
    ] = False,
    state: State = None,
    priority: OfPriority = None,
    task: Task = None,
    model: Model = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """End requests that wait or run. Exit code 1 unless all of them have ended.

    Example: ./roundhouse requests cancel --all --task summarise --state waiting
    """
    if bool(ids) == every or state is Stage.FINAL:
        raise UserError(
            "It is not said what to cancel.", "Name ids, or --all with or without --task."
        )
    named = [argument_text(each) for each in ids or ()]
    if every and not yes:
        count = asyncio.run(_count(data, Wanted(state, priority, task, model)))
        typer.confirm(f"Cancel {count} requests?", abort=True, err=True)
    became = asyncio.run(_cancel(data, named, Wanted(state, priority, task, model)))
    if as_json:
        typer.echo(json.dumps(became))
    else:
        typer.echo(", ".join(f"{count} {what}" for what, count in became.items()) or "0 cancelled")
    if became.keys() & {"asked", "unknown"}:
        raise typer.Exit(1)


async def _find(data: Path | None, wanted: Wanted, limit: int) -> tuple[list[Listed], int]:
    async with connected(data) as connection:
        found = await find(connection, wanted, limit)
        return found, await redis_now_ms(connection.client)


async def _look_up(data: Path | None, request_id: str) -> Lookup:
    async with connected(data) as connection:
        found = await connection.requester().look_up(request_id)
    if found is None:
        raise UserError(
            f"Nothing is known about {request_id}.",
            "Requests are known until an hour after their end.",
        )
    return found


def _stages(wanted: Wanted) -> tuple[Stage, ...]:
    return (wanted.stage,) if wanted.stage else (Stage.WAITING, Stage.RUNNING)


async def _count(data: Path | None, wanted: Wanted) -> int:
    async with connected(data) as connection:
        return sum(
            [
                len(page)
                for stage in _stages(wanted)
                async for page in pages(connection, stage, wanted)
            ]
        )


async def _cancel(data: Path | None, named: list[str], wanted: Wanted) -> dict[str, int]:
    """How many became what."""
    became: Counter[str] = Counter()
    async with connected(data) as connection:
        await check_router(connection)
        if named:
            became.update((await cancel(connection, named, REASON)).values())
            return dict(became)
        for stage in _stages(wanted):
            async for page in pages(connection, stage, wanted):
                ids = [each.request_id for each in page]
                became.update((await cancel(connection, ids, REASON)).values())
    return dict(became)


def _cells(listed: Listed, now_ms: int) -> tuple[str, ...]:
    age_s = max(0, now_ms - listed.admitted_ms) / 1000
    return (
        listed.request_id,
        listed.outcome or listed.state,
        listed.priority,
        listed.task,
        listed.model,
        listed.node,
        f"{age_s:.0f} s",
        listed.reason,
    )


def _document(listed: Listed) -> dict[str, Any]:
    return {name: getattr(listed, name) for name in Listed.__slots__}
