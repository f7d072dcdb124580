"""`queue`: what waits."""

import asyncio
import json
from pathlib import Path

import typer

from cli.columns import columns
from cli.commands.options import Data, Json
from cli.queue import Queue, document, look
from cli.store import connected

HELP = """What waits now and what runs: by priority, task, model, tenant and node.

Example: ./roundhouse queue --json
"""

queue = typer.Typer(invoke_without_command=True)


@queue.callback(help=HELP)
def overview(context: typer.Context, data: Data = None, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        show(data, as_json)


@queue.command()
def show(data: Data = None, as_json: Json = False) -> None:
    """The same.

    Example: ./roundhouse queue show
    """
    seen = asyncio.run(_look(data))
    if as_json:
        typer.echo(json.dumps(document(seen), indent=1))
    else:
        _print(seen)


async def _look(data: Path | None) -> Queue:
    async with connected(data) as connection:
        return await look(connection)


def _print(queue: Queue) -> None:
    rows = [
        (each.priority, str(each.waiting), _age(each.oldest_s), _age(each.expected_s))
        for each in queue.classes
    ]
    typer.echo(columns(("priority", "waiting", "oldest", "a new one waits about"), rows))
    if queue.kinds:
        about = "about " if queue.sampled else ""
        kinds = [
            (each.task, each.model or "any", each.tenant, f"{about}{each.waiting}")
            for each in queue.kinds
        ]
        typer.echo("\n" + columns(("task", "model", "tenant", "waiting"), kinds))
    nodes = [(each.name, f"{each.in_flight}/{each.slots}") for each in queue.nodes]
    typer.echo(
        "\n" + (columns(("node", "in flight/slots"), nodes) if nodes else "No node is alive.")
    )


def _age(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds:.1f} s"
