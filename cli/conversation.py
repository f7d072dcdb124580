"""One question and its answer, as a person follows it."""

import asyncio
import errno
import sys
from pathlib import Path
from typing import Any

import typer

from cli.columns import visible
from cli.errors import UserError
from cli.exchange import answer, asking, exchange, said_of
from cli.output import reader_left
from shared.bus.ids import request_id
from shared.bus.replies import ReplyDelta, ReplyFinal
from shared.events.inference import InferenceRequested

QUIET_S = 3.0
"""After so long without a word of the answer, the person is told how to find out why."""

NOISE = "This is the generated test model: its text is noise. Name a GGUF file or an engine in "
NOISE += "roundhouse.yaml for real answers."
DEGRADED = "Answered by rules, not by a model."


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
            on_delta = self._say if self._streams else None
            asked = asyncio.create_task(exchange(requester, self.request_id, request, on_delta))
            left = asyncio.create_task(reader_left())
            left.add_done_callback(lambda _: asked.cancel())
            hint = asyncio.create_task(self._hint())
            try:
                final = await asked
            except asyncio.CancelledError:
                if left.done():
                    raise BrokenPipeError(errno.EPIPE, "nobody reads the answer") from None
                raise
            finally:
                hint.cancel()
                left.cancel()
            self._say_rest(final)
            return final

    def conclude(self, final: ReplyFinal) -> None:
        """Say who answered. Raise `UserError` where nobody did."""
        if final.outcome != "completed":
            raise UserError(said_of(final), f"See ./roundhouse why {self.request_id}")
        _note(final.data)

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
