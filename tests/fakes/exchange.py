"""An exchange in memory: a test plays the router and the workers."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from services.gateway.exchange import (
    Outcome,
    ReplyDelta,
    ReplyFinal,
    RequestState,
    StoreFull,
    StoreUnavailable,
    Submission,
)
from shared.events.base import Operation
from shared.events.models import LocalModel

MODEL = LocalModel(name="qwen-7b", engine="llama_cpp", context_tokens=8192, slots=2, need_mib=5000)
NOISE = MODEL.model_copy(update={"name": "tiny", "noise": True})
RULES = MODEL.model_copy(update={"name": "heuristic:tickets", "degraded": True})


class FakeReplyStream:
    def __init__(self, exchange: "FakeExchange", request_id: str, chunks: bool) -> None:
        self._exchange = exchange
        self._request_id = request_id
        self._chunks = chunks
        self._items: deque[ReplyDelta | ReplyFinal] = deque()
        self._news = asyncio.Event()
        self._over = False

    def put(self, item: ReplyDelta | ReplyFinal) -> None:
        if self._chunks or isinstance(item, ReplyFinal):
            self._items.append(item)
            self._news.set()

    def __aiter__(self) -> "FakeReplyStream":
        return self

    async def __anext__(self) -> ReplyDelta | ReplyFinal:
        while not self._over and not self._items:
            self._news.clear()
            await self._news.wait()
        if self._over:
            raise StopAsyncIteration
        item = self._items.popleft()
        self._over = isinstance(item, ReplyFinal)
        return item

    def close(self) -> None:
        self._over = True
        self._news.set()
        self._exchange.forget(self._request_id, self)


class FakeExchange:
    """Keeps what was submitted; `say`, `complete` and `end` play the other side.

    `on_submit` plays it by itself: it is called with each new request.
    """

    def __init__(self, *models: LocalModel) -> None:
        self.models = list(models or (MODEL, NOISE, RULES))
        self.submitted: list[Submission] = []
        self.cancelled: list[tuple[str, str]] = []
        self.states: dict[str, RequestState] = {}
        self.on_submit: Callable[[Submission], None] | None = None
        self.looked_up = 0
        self.full = False
        self.down = False
        self._streams: dict[str, list[FakeReplyStream]] = {}

    @property
    def last(self) -> Submission:
        return self.submitted[-1]

    @property
    def open_streams(self) -> int:
        return sum(map(len, self._streams.values()))

    # --- what the gateway calls ----------------------------------------------------------------

    async def submit(self, request: Submission) -> None:
        self._answer_as_the_store()
        if self.full:
            raise StoreFull
        self.submitted.append(request)
        known = self.states.get(request.id)
        if known is None:
            self.states[request.id] = RequestState("submitted")
            if self.on_submit is not None:
                self.on_submit(request)
        elif known.result is not None:
            self._put(request.id, ReplyFinal("completed", known.result, complete=False))

    def open(self, request_id: str, *, chunks: bool) -> FakeReplyStream:
        stream = FakeReplyStream(self, request_id, chunks)
        self._streams.setdefault(request_id, []).append(stream)
        return stream

    async def cancel(self, request_id: str, reason: str) -> None:
        self._answer_as_the_store()
        self.cancelled.append((request_id, reason))

    async def state(self, request_id: str) -> RequestState | None:
        self.looked_up += 1
        self._answer_as_the_store()
        return self.states.get(request_id)

    def catalogue(self) -> Sequence[LocalModel]:
        return self.models

    # --- what a test does ----------------------------------------------------------------------

    def say(
        self, content: str, extra: dict[str, Any] | None = None, request_id: str | None = None
    ) -> None:
        delta = ReplyDelta(content, extra, model="qwen-7b", node="local")
        self._put(request_id or self.last.id, delta)

    def complete(
        self, content: str = "", *, complete: bool = True, model: str = "qwen-7b", **fields: Any
    ) -> None:
        """End the last request with this text, or with the fields of its completed event."""
        request = self.last
        data = {
            "request_id": request.id,
            "attempt": 1,
            "model": model,
            "node": "local",
            "engine": "llama_cpp",
            "output": output(request, content, model),
            "timings": {"queue_ms": 3, "prefill_ms": 12.5},
            **fields,
        }
        self.end("completed", complete=complete, **data)

    def end(self, outcome: Outcome, *, complete: bool = True, **data: Any) -> None:
        request_id = self.last.id
        self.states[request_id] = RequestState(
            outcome, {"admitted": 1, "finished": 2}, model="qwen-7b", attempt=1, result=data
        )
        self._put(request_id, ReplyFinal(outcome, data, complete))

    def forget(self, request_id: str, stream: FakeReplyStream) -> None:
        streams = self._streams.get(request_id, [])
        if stream in streams:
            streams.remove(stream)

    def _put(self, request_id: str, item: ReplyDelta | ReplyFinal) -> None:
        for stream in list(self._streams.get(request_id, ())):
            stream.put(item)

    def _answer_as_the_store(self) -> None:
        if self.down:
            raise StoreUnavailable


def output(request: Submission, content: str, model: str) -> dict[str, Any]:
    """The body of the OpenAI response with this text."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    head = {"created": 1_700_000_000, "model": model, "usage": usage}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
    match request.operation:
        case Operation.EMBEDDING:
            texts = request.input["input"] if isinstance(request.input, dict) else request.input
            count = len(texts) if isinstance(texts, list) else 1
            data = [
                {"object": "embedding", "index": index, "embedding": [0.5, -1.0, float(index)]}
                for index in range(count)
            ]
            return {"object": "list", "model": model, "usage": usage, "data": data}
        case Operation.COMPLETION:
            choices = [{**choice, "text": content}]
            return {
                **head,
                "id": f"cmpl-{request.id}",
                "object": "text_completion",
                "choices": choices,
            }
        case _:
            choices = [{**choice, "message": {"role": "assistant", "content": content}}]
            return {
                **head,
                "id": f"chatcmpl-{request.id}",
                "object": "chat.completion",
                "choices": choices,
            }


def answering(exchange: FakeExchange, *pieces: str, **fields: Any) -> Callable[[Submission], None]:
    """An `on_submit` that says these pieces and completes."""

    def on_submit(request: Submission) -> None:
        for piece in pieces:
            exchange.say(piece)
        exchange.complete("".join(pieces), **fields)

    return on_submit
