"""`models`: what the nodes offer and hold."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.columns import columns, visible
from cli.commands.options import Data, Json
from cli.residency import Wish, fulfil, living
from cli.store import connected
from shared.events.models import LocalModel, NodeHeartbeat

HELP = """The models of all nodes: what they offer, and what they hold in memory.

Example: ./roundhouse models --json
"""

models = typer.Typer(invoke_without_command=True)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="As `models` shows it.")]
Node = Annotated[str | None, typer.Option(help="On this node only.")]
Patience = Annotated[float, typer.Option("--timeout-s", min=1, help="How long to wait for it.")]


@models.callback(help=HELP)
def list_models(context: typer.Context, data: Data = None, as_json: Json = False) -> None:
    if context.invoked_subcommand is not None:
        return
    beats = asyncio.run(_living(data))
    if as_json:
        typer.echo(json.dumps([_document(beat) for beat in beats], indent=1))
    elif not beats:
        typer.echo("No node is alive. See ./roundhouse status and ./roundhouse logs")
    else:
        headings = ("model", "node", "engine", "state", "in flight", "context", "MiB", "notes")
        rows = [_cells(beat, local) for beat in beats for local in beat.inventory]
        rows += [_left_out(beat.node, *each) for beat in beats for each in beat.left_out.items()]
        typer.echo(columns(headings, rows))


@models.command()
def load(
    model: Model,
    node: Node = None,
    timeout_s: Patience = 600,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a model resident, and wait until it is.

    Example: ./roundhouse models load qwen-7b --node box-1
    """
    wish, changed = asyncio.run(_act(data, model, "load", node, timeout_s))
    took = f" after {wish.load_ms} ms" if wish.load_ms is not None else ""
    said = f"{model} is ready on {', '.join(wish.states)}{took}."
    _say_done(wish, changed, said if changed else said.replace(" is ", " was already "), as_json)


@models.command()
def unload(
    model: Model,
    node: Node = None,
    timeout_s: Patience = 120,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let a model finish what it serves and free its memory.

    Example: ./roundhouse models unload qwen-7b --node box-1
    """
    wish, changed = asyncio.run(_act(data, model, "unload", node, timeout_s))
    said = f"{model} is unloaded." if changed else f"{model} was not loaded."
    _say_done(wish, changed, said, as_json)


async def _living(data: Path | None) -> list[NodeHeartbeat]:
    async with connected(data) as connection:
        return await living(connection)


async def _act(
    data: Path | None,
    model: str,
    action: Literal["load", "unload"],
    node: str | None,
    timeout_s: float,
) -> tuple[Wish, bool]:
    async with connected(data) as connection:
        return await fulfil(connection, model, action, node, timeout_s, _aside)


def _say_done(wish: Wish, changed: bool, said: str, as_json: bool) -> None:
    if not as_json:
        typer.echo(said)
        return
    document = {
        "model": wish.model,
        "state": "ready" if wish.action == "load" else "unloaded",
        "changed": changed,
        "nodes": sorted(wish.states),
        "load_ms": wish.load_ms,
        "measured_mib": wish.measured_mib,
    }
    typer.echo(json.dumps(document))


def _aside(note: str) -> None:
    typer.secho(visible(note), err=True, dim=True)


def _cells(beat: NodeHeartbeat, local: LocalModel) -> tuple[str, ...]:
    held = next((each for each in beat.resident if each.name == local.name), None)
    notes = [word for word in ("noise", "degraded") if getattr(local, word)]
    if local.load_problem:
        notes.append(f"last load failed: {visible(local.load_problem)}")
    return (
        local.name,
        beat.node,
        local.engine,
        held.state if held else ("ready" if not local.loadable else "unloaded"),
        f"{held.in_flight}/{held.slots}" if held else "",
        str(local.context_tokens),
        str((held and held.measured_mib) or local.need_mib or ""),
        ", ".join(notes),
    )


def _left_out(node: str, name: str, why: str) -> tuple[str, ...]:
    return name, node, "", "left out", "", "", "", visible(why)


def _document(beat: NodeHeartbeat) -> dict[str, Any]:
    return {
        "node": beat.node,
        "models": [local.model_dump(mode="json") for local in beat.inventory],
        "resident": [held.model_dump(mode="json") for held in beat.resident],
        "left_out": beat.left_out,
    }
