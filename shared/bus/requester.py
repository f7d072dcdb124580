"""Asking for inferences: publishing requests, hearing the replies, looking requests up."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from pydantic_core import from_json
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from shared.bus.connection import UNAVAILABLE
from shared.bus.envelope import attributes, envelope
from shared.bus.ids import random_id
from shared.bus.keys import Keys
from shared.bus.records import State
from shared.bus.replies import Replies, ReplyFinal, ReplyStream
from shared.bus.scripts import script
from shared.bus.writer import Writer
from shared.events.inference import FailureReason, InferenceCancelRequested, InferenceRequested
from shared.log import get_logger

log = get_logger()

INLINE_BYTES = 256 * 1024
"""A larger body is stored beside its entry."""

PATIENCE_S = 5.0
"""How long a publish waits for a store that is being restarted."""

SWEEP_S = 2.0


class StoreFullError(Exception):
    """The store takes no new work until what it holds has drained."""


class StoreUnavailableError(Exception):
    """The store cannot be reached; whether it took the request is unknown."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A request's record and, once it is final, the data of its final event."""

    record: dict[str, str]
    result: dict[str, Any] | None


class Requester:
    """One asking process: its owner hands entries of `reply_key` to `replies`, and runs `sweep`."""

    def __init__(self, client: Redis, writer: Writer, keys: Keys, source: str, name: str) -> None:
        self._client = client
        self._writer = writer
        self._keys = keys
        self._source = source
        self._inbox = keys.stream(InferenceRequested)
        self.name = name
        self.replies = Replies()

    @property
    def reply_key(self) -> str:
        return self._keys.reply(self.name)

    def open(self, request_id: str, *, chunks: bool) -> ReplyStream:
        return self.replies.open(request_id, chunks=chunks)

    async def publish(
        self,
        request_id: str,
        data: bytes,
        extensions: Mapping[str, str],
        stream: ReplyStream | None = None,
    ) -> str:
        """Publish a request; repeating it with the same id and content is harmless.

        Returns the entry's id. Raises `StoreFullError` or `StoreUnavailableError`.
        """
        fields = attributes(InferenceRequested.type, request_id, self._source, request_id)
        for name, value in extensions.items():
            fields += [name, value]
        deadline_s = monotonic() + PATIENCE_S
        while True:
            try:
                entry_id = await self._add(request_id, fields, data)
            except OutOfMemoryError as error:
                raise StoreFullError("the store's memory is full") from error
            except ResponseError as error:
                if str(error).startswith("MISCONF"):
                    raise StoreFullError("the store cannot write to its disk") from error
                raise StoreUnavailableError(f"the store refuses requests: {error}") from error
            except UNAVAILABLE as error:
                if monotonic() > deadline_s:
                    raise StoreUnavailableError("the store cannot be reached") from error
                await asyncio.sleep(0.2)
                continue
            if stream is not None:
                stream.entry_id = entry_id
            return entry_id

    async def cancel(self, request_id: str, reason: str) -> None:
        """Ask for the request to end; works also while the store is full."""
        event = InferenceCancelRequested(request_id=request_id, reason=reason)
        fields = envelope(event, self._source, event_id=random_id())
        try:
            await self._writer.run(
                script("publish"),
                keys={
                    "stream": self._keys.stream(InferenceCancelRequested),
                    "guard": self._keys.published(str(fields[3])),
                },
                events={"event": fields},
            )
        except UNAVAILABLE as error:
            raise StoreUnavailableError("the store cannot be reached") from error

    async def look_up(self, request_id: str) -> Lookup | None:
        """What is known about a request; None: nothing (yet, or any more)."""
        try:
            pairs, result = await asyncio.gather(
                self._writer.send("HGETALL", self._keys.request(request_id)),
                self._writer.send("GET", self._keys.result(request_id)),
            )
        except UNAVAILABLE as error:
            raise StoreUnavailableError("the store cannot be reached") from error
        if not pairs:
            return None
        words = [word.decode() for word in pairs]
        record = dict(zip(words[::2], words[1::2], strict=True))
        return Lookup(record, from_json(result)["data"] if result else None)

    async def sweep(self) -> None:
        """Find missed replies and lost requests, and drop what was read, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            silent = [stream for stream in self.replies.all() if stream.silent_s > SWEEP_S]
            try:
                await asyncio.gather(*(self._check(stream) for stream in silent))
                if read := self.replies.read_until:
                    await self._writer.send("XTRIM", self.reply_key, "MINID", "~", read)
            except (StoreUnavailableError, *UNAVAILABLE):
                log.info("sweep_interrupted")

    async def _add(self, request_id: str, fields: list[str | bytes], data: bytes) -> str:
        if len(data) <= INLINE_BYTES:
            entry_id = await self._writer.send("XADD", self._inbox, "*", *fields, "data", data)
            return str(entry_id.decode())
        blob = f"{request_id}:{random_id()[:8]}"
        async with self._client.pipeline(transaction=True) as pipeline:
            pipeline.set(self._keys.blob(blob), data)
            pipeline.execute_command("XADD", self._inbox, "*", *fields, "dataref", blob)
            replies = await pipeline.execute()
        return str(replies[1].decode())

    async def _check(self, stream: ReplyStream) -> None:
        if stream.entry_id is None or stream.ended:
            return
        found = await self.look_up(stream.request_id)
        if found is None:
            await self._suspect(stream)
        elif found.record.get("state") == State.FINAL and found.result is not None:
            stream.put(ReplyFinal(found.record["outcome"], found.result, complete=False))
        elif found.record.get("state") == State.FINAL:
            message = "its answer is no longer kept; send it again as a new request"
            stream.put(_lost(stream.request_id, message))

    async def _suspect(self, stream: ReplyStream) -> None:
        """No record: either its entry still waits in the inbox, or the store lost the request."""
        entry_id = stream.entry_id
        if entry_id is None or await self._client.xrange(self._inbox, entry_id, entry_id):
            return
        if not stream.suspected:
            stream.suspected = True
            return
        message = "the store lost this request (it was flushed or replaced); send it again"
        stream.put(_lost(stream.request_id, message))


def _lost(request_id: str, message: str) -> ReplyFinal:
    data = {"request_id": request_id, "reason": FailureReason.STORE_LOST, "message": message}
    return ReplyFinal("failed", data, complete=False)
