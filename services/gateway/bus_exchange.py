"""The exchange over the bus."""

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from pydantic_core import to_json

from services.gateway.exchange import (
    ReplyDelta,
    ReplyFinal,
    RequestState,
    StoreFull,
    StoreUnavailable,
    Submission,
    is_outcome,
)
from shared.bus import replies
from shared.bus.envelope import Message
from shared.bus.requester import Lookup, Requester, StoreFullError, StoreUnavailableError
from shared.config import Timing
from shared.events.base import ReplyMode
from shared.events.models import LocalModel, NodeHeartbeat

RECENT = 10_000
"""Requests of this gateway that are known before the router has admitted them."""


class BusReplyStream:
    """A reply stream of the bus, in the gateway's words."""

    def __init__(self, stream: replies.ReplyStream, on_close: Callable[[], object]) -> None:
        self.inner = stream
        self._on_close = on_close
        self._model = ""
        self._node = ""
        self._over = False

    def __aiter__(self) -> "BusReplyStream":
        return self

    async def __anext__(self) -> ReplyDelta | ReplyFinal:
        reply = None if self._over else await self.inner.get()
        match reply:
            case None:
                raise StopAsyncIteration
            case replies.ReplyFinal(outcome, data, complete):
                self._over = True
                assert is_outcome(outcome)  # noqa: S101 - only scripts write it
                return ReplyFinal(outcome, data, complete)
            case replies.ReplyDelta() as delta:
                return self._translated(delta)

    def close(self) -> None:
        self._over = True
        self.inner.close()
        self._on_close()

    def _translated(self, reply: replies.ReplyDelta) -> ReplyDelta:
        self._model = reply.model or self._model
        self._node = reply.node or self._node
        extra = {key: value for key, value in reply.delta.items() if key != "content"}
        return ReplyDelta(
            content=reply.delta.get("content") or "",
            extra=extra or None,
            attempt=reply.attempt,
            model=self._model,
            node=self._node,
        )


class BusExchange:
    """Publishes through a `Requester`; knows the models from the nodes' heartbeats."""

    def __init__(self, requester: Requester, timing: Callable[[], Timing]) -> None:
        self._requester = requester
        self._timing = timing
        self._nodes: dict[str, tuple[float, NodeHeartbeat]] = {}
        self._opened: dict[str, BusReplyStream] = {}
        """Streams whose requests are not submitted yet."""
        self._recent: deque[str] = deque(maxlen=RECENT)

    async def on_heartbeat(self, message: Message[NodeHeartbeat]) -> None:
        self._nodes[message.event.node] = (monotonic(), message.event)

    async def submit(self, request: Submission) -> None:
        stream = self._opened.pop(request.id, None)
        try:
            await self._requester.publish(
                request.id,
                to_json({"input": request.input}),
                self._extensions(request),
                stream.inner if stream else None,
            )
        except StoreFullError as error:
            raise StoreFull(str(error)) from error
        except StoreUnavailableError as error:
            raise StoreUnavailable(str(error)) from error
        self._recent.append(request.id)

    def open(self, request_id: str, *, chunks: bool) -> BusReplyStream:
        stream = BusReplyStream(
            self._requester.open(request_id, chunks=chunks),
            on_close=lambda: self._opened.pop(request_id, None),
        )
        self._opened[request_id] = stream
        return stream

    async def cancel(self, request_id: str, reason: str) -> None:
        try:
            await self._requester.cancel(request_id, reason)
        except StoreUnavailableError as error:
            raise StoreUnavailable(str(error)) from error

    async def state(self, request_id: str) -> RequestState | None:
        try:
            found = await self._requester.look_up(request_id)
        except StoreUnavailableError as error:
            raise StoreUnavailable(str(error)) from error
        if found is None:
            return RequestState("submitted") if request_id in self._recent else None
        return _state(found)

    def catalogue(self) -> Sequence[LocalModel]:
        alive_since_s = monotonic() - self._timing().node_lost_s
        return [
            model
            for heard_s, beat in self._nodes.values()
            if heard_s > alive_since_s
            for model in beat.inventory
        ]

    def _extensions(self, request: Submission) -> dict[str, str]:
        extensions: dict[str, Any] = {
            "operation": request.operation,
            "task": request.task,
            "priority": request.priority,
            "model": request.model,
            "dataclass": request.dataclass,
            "deadlinems": request.deadline_ms,
            "maxtokens": request.max_tokens,
            "inputbytes": request.input_bytes,
            "traceparent": request.traceparent,
        }
        if request.reply:
            mode = ReplyMode.CHUNKS if request.chunks else ReplyMode.FINAL
            extensions |= {"replyto": self._requester.name, "replymode": mode}
        return {name: str(value) for name, value in extensions.items() if value}


def _state(found: Lookup) -> RequestState:
    record = found.record
    stamps = {
        name.removesuffix("_ms"): int(value)
        for name, value in record.items()
        if name.endswith("_ms") and name not in ("deadline_ms", "not_before_ms") and value
    }
    return RequestState(
        state=record.get("outcome") or record.get("state", "submitted"),
        timestamps_ms=stamps,
        model=record.get("model") or None,
        node=record.get("node") or None,
        attempt=int(record.get("attempt") or 0),
        deadline_s=_deadline_s(record),
        result=found.result,
    )


def _deadline_s(record: dict[str, str]) -> float | None:
    """As a duration, since this machine's clock may differ from the store's."""
    deadline_ms, admitted_ms = record.get("deadline_ms"), record.get("admitted_ms")
    if not deadline_ms or not admitted_ms:
        return None
    return (int(deadline_ms) - int(admitted_ms)) / 1000
