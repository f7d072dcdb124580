"""Pieces of an answer reach their reader in the order in which the engine said them."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from pydantic_core import from_json

from services.inference_worker.backends.port import Delta
from services.inference_worker.outbox import Outbox
from shared.bus.attempts import Piece


class Records:
    """Writes down what is emitted, each after a moment."""

    def __init__(self) -> None:
        self.emitted: list[tuple[int, str]] = []

    async def emit(self, pieces: Sequence[Piece]) -> list[str]:
        await asyncio.sleep(0)
        self.emitted += [(piece.seq, from_json(piece.delta)["content"]) for piece in pieces]
        return ["ok" for _ in pieces]


async def test_an_answer_that_ends_while_its_first_piece_is_on_its_way_is_whole() -> None:
    """However far the flush has come when the last piece and the end arrive."""
    for turns in range(6):
        records = Records()
        outbox = Outbox(records, lambda *_: None)  # type: ignore[arg-type]
        attempt: Any = SimpleNamespace(executor="worker/1-0/a")

        outbox.put(attempt, Delta("once"))
        for _ in range(turns):
            await asyncio.sleep(0)
        outbox.put(attempt, Delta(" upon a time"))
        await outbox.close(attempt)

        assert "".join(piece for _, piece in records.emitted) == "once upon a time"
        assert [seq for seq, _ in records.emitted] == [*range(len(records.emitted))]


async def test_nothing_is_said_of_an_answer_after_it_was_closed() -> None:
    records = Records()
    outbox = Outbox(records, lambda *_: None)  # type: ignore[arg-type]
    attempt: Any = SimpleNamespace(executor="worker/1-0/a")

    outbox.put(attempt, Delta("all"))
    await outbox.close(attempt)
    await asyncio.sleep(0.1)

    assert records.emitted == [(0, "all")]
