"""`audit`: the trail of all requests, kept in Postgres."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cli.audit import HEADINGS, Use, cells, tell, tell_uses, uses_of
from cli.columns import columns, visible
from cli.commands.options import Data, Json
from cli.errors import UserError
from cli.input import argument_text
from cli.points_in_time import since_ms
from cli.questions import ask
from cli.store import SOURCE, connected
from shared.events.audit import MAX_PAGE, AuditQueryRequested, Outcome

HELP = """The audit trail: every request that ended, for as long as the database keeps it.

Example: ./roundhouse audit search --since 1h --outcome failed
"""
SERVICE = "audit-logger"

audit = typer.Typer(no_args_is_help=True, help=HELP)


@audit.command()
def search(
    since: Annotated[
        str | None, typer.Option(help="Ended since: 30min, 12h, 7d ago, or a date (and time).")
    ] = None,
    task: Annotated[str | None, typer.Option()] = None,
    model: Annotated[str | None, typer.Option(help="Asked for, or chosen.")] = None,
    node: Annotated[str | None, typer.Option()] = None,
    principal: Annotated[str | None, typer.Option()] = None,
    outcome: Annotated[Outcome | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most requests that are shown.")] = 20,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """The latest requests that match, newest first.

    Example: ./roundhouse audit search --since 1d --model qwen-7b --json
    """
    terms = {"task": task, "model": model, "node": node, "principal": principal}
    query = _query(since_ms=since_ms(since), outcome=outcome, **terms)
    found, more = asyncio.run(_search(data, query, limit))
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    elif not found:
        typer.echo("No request matches.")
    else:
        typer.echo(columns(HEADINGS, [cells(request) for request in found]))
        if more:
            typer.echo(f"There are more; see {2 * limit} with --limit {2 * limit}.", err=True)


@audit.command()
def show(
    request: Annotated[str, typer.Argument(metavar="ID", help="Of the request.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """One request with its attempts: when each stage was, where it ran, what it took.

    An id may be used again an hour after its end: every use is shown, newest first; in --json those
    before the newest are `earlier`.

    Example: ./roundhouse audit show 019ab2c4f6e89a1b2c3d4e5f00000001
    """
    wanted = argument_text(request)
    uses = asyncio.run(_uses(data, _query(request_id=wanted, limit=MAX_PAGE)))
    if not uses:
        raise UserError(
            f"The audit trail knows nothing of {wanted}.",
            "It knows requests from their end on; ./roundhouse why tells of those under way.",
        )
    if as_json:
        documents = [{**request, "tries": attempts} for request, attempts in uses]
        earlier = {"earlier": documents[1:]} if documents[1:] else {}
        typer.echo(json.dumps({**documents[0], **earlier}, indent=1))
        return
    for line in tell(*uses[0]) if len(uses) == 1 else tell_uses(uses):
        typer.echo(visible(line))


def _query(**terms: Any) -> AuditQueryRequested:
    try:
        return AuditQueryRequested(asked_by=SOURCE, **terms)
    except ValidationError as error:
        [name] = error.errors(include_url=False)[0]["loc"]
        raise UserError(
            f"--{name} {terms[str(name)]!r} is no name of anything.",
            "Names have letters, digits and ._:/@+-, and no spaces.",
        ) from error


async def _search(
    data: Path | None, query: AuditQueryRequested, limit: int
) -> tuple[list[dict[str, Any]], bool]:
    """Page by page: the requests, and whether there are more."""
    found: list[dict[str, Any]] = []
    async with connected(data) as connection:
        for size in _pages(limit):
            query = query.model_copy(update={"limit": size})
            page = await ask(connection, query, SERVICE)
            found += page["requests"]
            if "next" not in page:
                return found, False
            query = query.model_copy(update={"before": page["next"]})
    return found, True


def _pages(limit: int) -> Iterator[int]:
    for first in range(0, limit, MAX_PAGE):
        yield min(MAX_PAGE, limit - first)


async def _uses(data: Path | None, query: AuditQueryRequested) -> list[Use]:
    """All that were asked for under an id, each with its attempts, newest first."""
    requests: list[dict[str, Any]] = []
    attempts: list[dict[str, Any]] = []
    async with connected(data) as connection:
        while True:
            page = await ask(connection, query, SERVICE)
            requests += page["requests"]
            attempts += page["attempts"]
            if "next" not in page:
                return uses_of(requests, attempts)
            query = query.model_copy(update={"before": page["next"]})
