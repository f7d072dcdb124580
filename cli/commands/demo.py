"""`demo`: the examples, end to end, on what `up` started."""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.address import ROOT
from cli.columns import visible
from cli.commands.options import Data, Json
from cli.errors import UserError
from cli.exchange import answer, asking, exchange, said_of
from cli.input import parse, read_text
from shared.bus.ids import request_id
from shared.bus.replies import ReplyFinal
from shared.bus.requester import Requester
from shared.events.inference import InferenceRequested

EXAMPLES = ROOT / "examples"
SHOWN_CHARACTERS = 300

NOISE = """Answers marked noise come from the generated test model: it is random. For real ones
start Ollama, or name a GGUF file in roundhouse.yaml (see roundhouse.example.yaml)."""


@dataclass(frozen=True)
class Example:
    """One line of an examples file. `name` is that of the file with the line's number."""

    name: str
    request: InferenceRequested


@dataclass(frozen=True)
class Answered:
    example: Example
    request_id: str
    final: ReplyFinal


def demo(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="JSONL, a request a line. Default: all of examples/."),
    ] = None,
    times: Annotated[int, typer.Option(min=1, help="Run all of them so often.")] = 1,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Run the examples that a person would send, and show the answers.

    Exit code 1 unless all are completed.

    Example: ./roundhouse demo examples/classify.jsonl
    """
    examples = [each for file in files or sorted(EXAMPLES.glob("*.jsonl")) for each in _read(file)]
    if not examples:
        raise UserError("There is nothing to run.", "Name a JSONL file with a request a line.")
    answered = asyncio.run(_run(data, examples * times, shows_progress=not as_json))
    if as_json:
        typer.echo(json.dumps([_document(each) for each in answered], indent=1))
    else:
        _show(answered)
    if any(each.final.outcome != "completed" for each in answered):
        raise typer.Exit(1)


def _read(file: Path) -> list[Example]:
    return [
        Example(f"{file.stem} {number}", parse(InferenceRequested, line, f"{file}:{number}"))
        for number, line in enumerate(read_text(file).splitlines(), 1)
        if line.strip()
    ]


async def _run(
    data: Path | None, examples: Sequence[Example], *, shows_progress: bool
) -> list[Answered]:
    hidden = not (shows_progress and sys.stderr.isatty())
    bar = typer.progressbar(length=len(examples), label="Asking", file=sys.stderr, hidden=hidden)
    async with asking(data) as requester:
        with bar:
            return await asyncio.gather(*(_ask(requester, each, bar.update) for each in examples))


async def _ask(requester: Requester, example: Example, advance: Callable[[int], None]) -> Answered:
    identity = request_id()
    final = await exchange(requester, identity, example.request)
    advance(1)
    return Answered(example, identity, final)


def _show(answered: Sequence[Answered]) -> None:
    for each in answered:
        heading, text = _words(each.final)
        typer.secho(f"{each.example.name}  {heading}", bold=True)
        typer.echo(f"  {text}\n")
    completed = sum(each.final.outcome == "completed" for each in answered)
    typer.echo(f"{completed} of {len(answered)} completed.")
    first = answered[0].request_id
    typer.echo(f"Where the time of the first went: ./roundhouse why {first}")
    if any(each.final.data.get("noise") for each in answered):
        typer.echo(NOISE)


def _words(final: ReplyFinal) -> tuple[str, str]:
    data = final.data
    if final.outcome != "completed":
        ended, _, message = said_of(final).partition(": ")
        return ended, visible(message)
    marks = [mark for mark in ("degraded", "noise") if data.get(mark)]
    shown = visible(" ".join(answer(data).split()))
    if len(shown) > SHOWN_CHARACTERS:
        shown = f"{shown[:SHOWN_CHARACTERS]}…"
    took_ms = (data.get("timings") or {}).get("total_ms", 0)
    return ", ".join([f"{data['model']} on {data['node']}", f"{took_ms} ms", *marks]), shown


def _document(answered: Answered) -> dict[str, Any]:
    final = answered.final
    return {"example": answered.example.name, "outcome": final.outcome, **final.data}
