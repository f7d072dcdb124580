"""`ask`."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cli.columns import visible
from cli.commands.options import Data, Json
from cli.errors import UserError
from cli.exchange import answer, asking, exchange, said_of
from cli.input import STANDARD_INPUT, argument_text, problems, read_text
from shared.bus.ids import request_id
from shared.bus.replies import ReplyDelta, ReplyFinal
from shared.events.base import Operation, Priority
from shared.events.inference import InferenceRequested

QUIET_S = 3.0
"""After so long without a word of the answer, the person is told how to find out why."""

NOISE = "This is the generated test model: its text is noise. Name a GGUF file or an engine in "
NOISE += "roundhouse.yaml for real answers."
DEGRADED = "Answered by rules, not by a model."


def ask(
    question: Annotated[str, typer.Argument(help="What to ask; - reads it from the input.")],
    task: Annotated[str | None, typer.Option(help="A task of the configuration.")] = None,
    priority: Annotated[
        Priority | None, typer.Option(case_sensitive=False, help="Instead of the task's.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="This model, and no other.")] = None,
    stream: Annotated[bool, typer.Option(help="Print the answer while it comes.")] = True,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of the answer.")] = None,
    deadline_s: Annotated[
        float | None, typer.Option(min=0.1, help="Give up after so many seconds.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Ask a question over the bus and print the answer. Ctrl-C cancels it.

    The answer goes to the output, everything else to the error output. Exit code 1 without one.

    Example: ./roundhouse ask "Why is the sky blue?" --priority high
    """
    request = _request(
        read_text(STANDARD_INPUT) if question == "-" else argument_text(question),
        task=task,
        priority=priority,
        model=model,
        max_tokens=max_tokens,
        deadline_ms=int(deadline_s * 1000) if deadline_s else None,
    )
    conversation = Conversation(streams=stream and not as_json, hints=not as_json)
    final = asyncio.run(conversation.hold(data, request))
    if as_json:
        typer.echo(json.dumps({"outcome": final.outcome, **final.data}))
    elif final.outcome != "completed":
        raise UserError(said_of(final), f"See ./roundhouse why {conversation.request_id}")
    else:
        _note(final.data)
    raise typer.Exit(0 if final.outcome == "completed" else 1)


def _request(text: str, **wishes: Any) -> InferenceRequested:
    if not text.strip():
        raise UserError("The question is empty.", 'Write it in quotes: ./roundhouse ask "Why?"')
    asked = {"messages": [{"role": "user", "content": text}]}
    try:
        return InferenceRequested(input=asked, operation=Operation.CHAT, **wishes)
    except ValidationError as error:
        raise UserError(
            f"This cannot be asked: {problems(error)}.", "See ./roundhouse ask --help"
        ) from error


class Conversation:
    """One question and its answer, said on the terminal as it comes."""

    def __init__(self, *, streams: bool, hints: bool) -> None:
        self.request_id = request_id()
        self._streams = streams
        self._hints = hints
        self._said = ""
        self._print = visible if sys.stdout.isatty() else str

    async def hold(self, data: Path | None, request: InferenceRequested) -> ReplyFinal:
        async with asking(data) as requester:
            hint = asyncio.create_task(self._hint())
            on_delta = self._say if self._streams else None
            try:
                final = await exchange(requester, self.request_id, request, on_delta)
            finally:
                hint.cancel()
            self._say_rest(final)
            return final

    def _say(self, delta: ReplyDelta) -> None:
        piece = delta.delta.get("content") or ""
        self._said += piece
        typer.echo(self._print(piece), nl=False)

    def _say_rest(self, final: ReplyFinal) -> None:
        """Pieces may be missing, and then the end has the whole answer."""
        if final.outcome == "completed" and self._hints:
            whole = answer(final.data)
            followed = whole.startswith(self._said)
            typer.echo(self._print(whole[len(self._said) :] if followed else f"\n{whole}"))
        elif self._said:
            typer.echo()

    async def _hint(self) -> None:
        await asyncio.sleep(QUIET_S)
        if self._hints and not self._said:
            _aside(f"Waiting; ./roundhouse why {self.request_id} says for what.")


def _note(completed: dict[str, Any]) -> None:
    took_ms = (completed.get("timings") or {}).get("total_ms", 0)
    who = f"{completed['model']} on {completed['node']}, {took_ms} ms"
    _aside(f"{who}; ./roundhouse why {completed['request_id']}")
    if not answer(completed):
        _aside("The answer is empty.")
    if completed.get("finish_reason") == "length":
        _aside("The answer is cut off: it reached the limit of tokens.")
    for mark, note in (("noise", NOISE), ("degraded", DEGRADED)):
        if completed.get(mark):
            _aside(note)


def _aside(note: str) -> None:
    typer.secho(f"({note})", err=True, dim=True)
