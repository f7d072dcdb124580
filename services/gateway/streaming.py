"""One streamed answer on its way to the client."""

import time

from starlette.types import Send

from services.gateway.answers import answer_headers
from services.gateway.calls import Call
from services.gateway.errors import ApiError, from_reply
from services.gateway.exchange import Exchange, ReplyDelta, ReplyFinal
from services.gateway.replies import Sign
from services.gateway.sse import KEEP_ALIVE, Chunks, error_event

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class StreamedAnswer:
    """Headers go out with the first item, so that an early refusal still is an HTTP status."""

    def __init__(self, call: Call, exchange: Exchange, send: Send) -> None:
        self._call = call
        self._exchange = exchange
        self._send = send
        self._begun = False
        self._chunks: Chunks | None = None

    async def put(self, item: ReplyDelta | ReplyFinal | Sign) -> None:
        """Write the item. Raises `ApiError` where it is a failure."""
        match item:
            case ReplyDelta():
                await self._piece(item)
            case ReplyFinal(outcome="completed"):
                await self._end(item)
            case ReplyFinal():
                raise from_reply(item.outcome, item.data)
            case Sign.QUIET:
                await self._begin("", "")
                await self._write(KEEP_ALIVE)

    async def fail(self, error: ApiError) -> None:
        """Say that no more will come; raises the error where its HTTP status can still say so."""
        if not self._begun:
            raise error
        await self._write(error_event(error), more=False)

    async def _piece(self, delta: ReplyDelta) -> None:
        if self._chunks is not None:
            await self._write(self._chunks.piece(delta))
            return
        await self._begin(delta.model, delta.node)
        self._chunks = Chunks(self._call, delta.model or self._call.model, int(time.time()))
        await self._write(self._chunks.first() + self._chunks.piece(delta))

    async def _end(self, final: ReplyFinal) -> None:
        chunks, rest = self._chunks, b""
        if chunks is None:
            chunks = Chunks(self._call, final.data["model"], int(time.time()))
            rest = chunks.first() + (chunks.rest(final.data["output"]) or b"")
        elif not final.complete:
            missing = chunks.rest(final.data["output"])
            if missing is None:
                raise ApiError(
                    502, "A part of the answer was lost on its way.", code="answer_incomplete"
                )
            rest = missing
        await self._begin(final.data["model"], final.data["node"])
        await self._write(rest + chunks.last(final.data), more=False)

    async def _begin(self, model: str, node: str) -> None:
        if self._begun:
            return
        self._begun = True
        known = next((each for each in self._exchange.catalogue() if each.name == model), None)
        headers = answer_headers(
            self._call.submission.id,
            model,
            node,
            degraded=known is not None and known.degraded,
            noise=known is not None and known.noise,
        )
        await self._send(
            {"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *headers]}
        )

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
