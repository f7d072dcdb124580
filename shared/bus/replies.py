"""Reply streams: one per asking process, read by one task that serves all its requests."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from pydantic_core import from_json

from shared.bus.envelope import Entry
from shared.log import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """A piece of the answer, as an OpenAI delta."""

    attempt: int
    seq: int
    delta: dict[str, Any]
    model: str = ""
    """Who answers; on the first piece only."""
    node: str = ""


@dataclass(frozen=True, slots=True)
class ReplyFinal:
    """How the request ended; nothing follows."""

    outcome: str
    data: dict[str, Any]
    complete: bool = True
    """False where pieces of the answer are missing before it."""


Reply = ReplyDelta | ReplyFinal


class ReplyStream:
    """The replies to one request: a gapless beginning of the answer, then its end.

    It latches on the first attempt that it sees; after a gap only the end follows.
    """

    def __init__(self, replies: "Replies", request_id: str, *, chunks: bool) -> None:
        self._replies = replies
        self.request_id = request_id
        self._chunks = chunks
        self._queue: asyncio.Queue[Reply | None] = asyncio.Queue()
        self._attempt: int | None = None
        self._next_seq = 0
        self._gap = False
        self._heard_s = monotonic()
        self.entry_id: str | None = None
        """Of the request's entry, once it is published."""
        self.ended = False
        self.suspected = False
        """Whether its request could not be found when it was last looked for."""

    @property
    def silent_s(self) -> float:
        """Seconds since it was opened or something was last heard."""
        return monotonic() - self._heard_s

    def put(self, reply: Reply) -> None:
        if self.ended:
            return
        self._heard_s = monotonic()
        if isinstance(reply, ReplyFinal):
            self.ended = True
            complete = reply.complete and not self._gap
            self._queue.put_nowait(ReplyFinal(reply.outcome, reply.data, complete))
        elif self._chunks and self._follows(reply):
            self._queue.put_nowait(reply)

    async def get(self) -> Reply | None:
        """The next reply; None once the stream is closed."""
        return await self._queue.get()

    async def __aiter__(self) -> AsyncIterator[Reply]:
        while reply := await self.get():
            yield reply
            if isinstance(reply, ReplyFinal):
                return

    def close(self) -> None:
        self._replies.forget(self)
        self._queue.put_nowait(None)

    def _follows(self, delta: ReplyDelta) -> bool:
        if self._attempt is None:
            self._attempt = delta.attempt
        if delta.attempt != self._attempt or delta.seq < self._next_seq:
            return False
        self._gap = self._gap or delta.seq != self._next_seq
        self._next_seq = delta.seq + 1
        return not self._gap


class Replies:
    """Hands the entries of a process's reply stream to whoever waits for them."""

    def __init__(self) -> None:
        self._open: dict[str, list[ReplyStream]] = {}
        self.read_until = ""
        """Id of the last entry that was read."""

    def open(self, request_id: str, *, chunks: bool) -> ReplyStream:
        """Wait for the replies to a request. Open it before the request is published."""
        stream = ReplyStream(self, request_id, chunks=chunks)
        self._open.setdefault(request_id, []).append(stream)
        return stream

    def all(self) -> list[ReplyStream]:
        return [stream for streams in self._open.values() for stream in streams]

    async def on_entries(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.read_until = entry.id
            try:
                request_id, _, conflicting = entry.text("request").partition("#")
                reply = _reply(entry)
            except (KeyError, ValueError):
                log.warning("invalid_reply", stream=entry.stream, entry=entry.id)
                continue
            for stream in self._open.get(request_id, ()):
                # Where two programs gave one id to different content, only the later one hears.
                if not conflicting or stream.entry_id == conflicting:
                    stream.put(reply)

    def forget(self, stream: ReplyStream) -> None:
        streams = self._open.get(stream.request_id, [])
        if stream in streams:
            streams.remove(stream)
        if not streams:
            self._open.pop(stream.request_id, None)


def _reply(entry: Entry) -> Reply:
    if outcome := entry.text("final"):
        return ReplyFinal(outcome, from_json(entry.data))
    delta = from_json(entry.fields[b"delta"])
    return ReplyDelta(
        attempt=int(entry.text("attempt")),
        seq=int(entry.text("seq")),
        delta=delta,
        model=entry.text("model"),
        node=entry.text("node"),
    )
