"""`status`."""

import asyncio
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from cli.address import data_folder
from cli.commands.options import Data, Json
from cli.supervisor import ports
from cli.supervisor.folder import DataFolder, ProcessState, RunState
from cli.supervisor.memory import Usage, usage
from cli.supervisor.probes import service_lacks, without_password
from cli.supervisor.process import State
from cli.supervisor.stores import STORES


@dataclass(frozen=True)
class Row:
    """One line of `status`. Nothing is known of the processes of an external store."""

    name: str
    state: str
    pid: int | None = None
    port: int | None = None
    restarts: int = 0
    note: str = ""
    usage: Usage | None = None
    store: bool = False


def status(data: Data = None, as_json: Json = False) -> None:
    """What runs, how it is, and what memory it takes. Exit code 1 unless all of it is ready.

    Example: ./roundhouse status --json
    """
    folder = DataFolder(data or data_folder())
    state = folder.running()
    rows = asyncio.run(_rows(state)) if state else []
    if as_json:
        typer.echo(json.dumps(_document(folder.root, state, rows), indent=1))
    elif state is None:
        typer.echo(f"Nothing runs from {folder.root}. Start it with ./roundhouse up")
    else:
        _show(folder.root, state, rows)
    if state is None or any(row.state != State.READY for row in rows):
        raise typer.Exit(1)


async def _rows(state: RunState) -> list[Row]:
    now_s = time.time()
    own = usage(state.pid, now_s, with_children=False)
    supervisor = Row("supervisor", State.READY, pid=state.pid, usage=own)
    return [
        supervisor,
        *await asyncio.gather(*(_external(name, state) for name in state.external)),
        *await asyncio.gather(*(_row(process, state, now_s) for process in state.processes)),
    ]


async def _external(name: str, state: RunState) -> Row:
    lack = await _store_lacks(name, state)
    note = f"external, {without_password(state.urls[name])}"
    return Row(
        name, "unreachable" if lack else State.READY, note=f"{note}: {lack}" if lack else note
    )


async def _store_lacks(name: str, state: RunState) -> str | None:
    store = next(store for store in STORES if store.name == name)
    return await store.lacks(state.urls[name])


async def _row(process: ProcessState, state: RunState, now_s: float) -> Row:
    """The supervisor knows what lives; whether that is still ready is asked now."""
    lack = await _lack(process, state) if process.state == State.READY else None
    return Row(
        name=process.name,
        state="not ready" if lack else process.state,
        pid=process.pid,
        port=process.port,
        restarts=process.restarts,
        note=lack or process.note,
        usage=usage(process.pid, now_s),
        store=process.store,
    )


async def _lack(process: ProcessState, state: RunState) -> str | None:
    if process.store:
        return await _store_lacks(process.name, state)
    edge = process.port == state.http_port
    host = ports.reachable(state.http_host) if edge else ports.LOOPBACK
    return await service_lacks(host, process.port)


def _document(root: Path, state: RunState | None, rows: list[Row]) -> dict[str, object]:
    return {
        "running": state is not None,
        "ready": state is not None and all(row.state == State.READY for row in rows),
        "url": ports.url(state.http_host, state.http_port) if state else None,
        "data": str(root),
        "store": without_password(state.redis_url) if state else None,
        "processes": [asdict(row) for row in rows],
        "rss_mib": _total_rss_mib(rows),
        "pss_mib": _total_pss_mib(rows),
    }


def _total_rss_mib(rows: list[Row]) -> float:
    """Of what is ours; a store's memory is its data."""
    return sum(row.usage.rss_mib for row in rows if row.usage and not row.store)


def _total_pss_mib(rows: list[Row]) -> float | None:
    parts = [row.usage.pss_mib for row in rows if row.usage and not row.store]
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None


def _show(root: Path, state: RunState, rows: list[Row]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("process", "state", "pid", "port", "restarts", "up", "MiB", "engines MiB"):
        table.add_column(heading, justify="left" if heading in {"process", "state"} else "right")
    for row in rows:
        table.add_row(*_cells(row))
    console = Console(highlight=False, markup=False)
    console.print(table)
    pss_mib = _total_pss_mib(rows)
    shared = f" ({pss_mib:.0f} MiB where shared memory counts once)" if pss_mib else ""
    console.print(
        f"\nMemory: {_total_rss_mib(rows):.0f} MiB without stores{shared}", soft_wrap=True
    )
    console.print(f"HTTP:   {ports.url(state.http_host, state.http_port)}", soft_wrap=True)
    console.print(f"Store:  {without_password(state.redis_url)}", soft_wrap=True)
    console.print(f"Data:   {root}", soft_wrap=True)
    for row in rows:
        if row.note:
            console.print(f"{row.name}: {row.note}", soft_wrap=True)


def _cells(row: Row) -> list[str]:
    used = row.usage
    return [
        row.name,
        row.state,
        str(row.pid or ""),
        str(row.port or ""),
        str(row.restarts),
        _duration(used.uptime_s) if used else "",
        f"{used.rss_mib:.0f}" if used else "",
        f"{used.children_mib:.0f}" if used and used.children_mib else "",
    ]


def _duration(seconds: float) -> str:
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"
