"""Asking for inferences and waiting for their ends, as a person does who may lose patience."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from cli.input import MAX_BODY_BYTES, too_large
from cli.store import Connection, connected
from shared.bus.connection import UNAVAILABLE
from shared.bus.ids import new_traceparent
from shared.bus.replies import ReplyDelta, ReplyFinal, ReplyStream
from shared.bus.requester import Requester, StoreUnavailableError
from shared.bus.tail import tail
from shared.events.base import ReplyMode
from shared.events.inference import InferenceRequested

LOOK_EVERY_S = 0.5
NOBODY_S = 10.0
"""Longer than a router takes to be started again: after that, nobody will take the request."""

GONE_S = 20.0
"""Longer than a store takes to be restarted."""

UNANSWERED = "unanswered"
"""Outcome of a request whose end nobody waits for any more."""

NO_ROUTER = "no router runs on this store, so nobody takes the request; see ./roundhouse status"
STORE_GONE = f"the store has not answered for {GONE_S:g} s; see ./roundhouse status"

OnDelta = Callable[[ReplyDelta], None]


@asynccontextmanager
async def asking(
    data: Path | None = None, nobody_s: float = NOBODY_S, name: str = ""
) -> AsyncIterator[Requester]:
    """A requester whose replies arrive. Raise `UserError` where no store answers.

    Without a router for `nobody_s`, what none has taken ends as `UNANSWERED`. `name` is that of
    the reply stream, for one that is to be found again.
    """
    async with connected(data) as connection:
        requester = connection.requester(name)
        replies = {requester.reply_key: requester.replies.on_entries}
        beside = [
            asyncio.create_task(tail(connection.client, replies, lookback_s=1)),
            asyncio.create_task(requester.sweep()),
            asyncio.create_task(_give_up_in_vain(connection, requester, nobody_s)),
        ]
        try:
            yield requester
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)


async def exchange(
    requester: Requester,
    request_id: str,
    request: InferenceRequested,
    on_delta: OnDelta | None = None,
) -> ReplyFinal:
    """Publish a request and wait for its end; pieces of the answer go to `on_delta`.

    Whatever ends the wait early (Ctrl-C, a reader of the output that left) cancels the request.
    """
    body = request.model_dump_json(exclude_none=True).encode()
    if len(body) > MAX_BODY_BYTES:
        raise too_large("The request")
    extensions = {
        **attributes_of(request, len(body)),
        "traceparent": new_traceparent(),
        "replyto": requester.name,
        "replymode": ReplyMode.CHUNKS if on_delta else ReplyMode.FINAL,
    }
    stream = requester.open(request_id, chunks=on_delta is not None)
    try:
        await requester.publish(request_id, body, extensions, stream)
        final = await _end(stream, on_delta)
    except (asyncio.CancelledError, OSError):
        await _cancel(requester, request_id, "whoever asked stopped waiting")
        raise
    finally:
        stream.close()
    if final.outcome == UNANSWERED:
        await _cancel(requester, request_id, str(final.data["message"]))
    return final


def attributes_of(request: InferenceRequested, body_bytes: int) -> dict[str, str]:
    """What a request says beside its input, as attributes of its entry.

    The router reads these; a large body it never sees.
    """
    extensions = {
        "task": request.task,
        "priority": request.priority,
        "model": request.model,
        "operation": request.operation,
        "dataclass": request.dataclass,
        "deadlinems": request.deadline_ms,
        "maxtokens": request.max_tokens,
        "inputbytes": body_bytes,
    }
    return {name: str(value) for name, value in extensions.items() if value is not None}


def said_of(final: ReplyFinal) -> str:
    """How a request ended that has no answer, in words."""
    reason = final.data.get("reason")
    ended = f"{final.outcome} ({reason})" if reason else final.outcome
    return f"{ended}: {final.data.get('message') or 'nothing more is known'}"


def answer(completed: dict[str, Any]) -> str:
    """The words of a completed inference; for embeddings, what came instead."""
    output = completed["output"]
    if "choices" not in output:
        vectors = [each["embedding"] for each in output["data"]]
        return f"{len(vectors)} embeddings of {len(vectors[0]) if vectors else 0} numbers"
    choice = output["choices"][0]
    if "text" in choice:
        return str(choice["text"])
    message = choice["message"]
    calls = message.get("tool_calls")
    return str(message["content"] or (json.dumps(calls) if calls else ""))


async def _end(stream: ReplyStream, on_delta: OnDelta | None) -> ReplyFinal:
    while True:
        match await stream.get():
            case ReplyFinal() as final:
                return final
            case ReplyDelta() as delta if on_delta:
                on_delta(delta)


async def _cancel(requester: Requester, request_id: str, reason: str) -> None:
    with suppress(StoreUnavailableError):
        await requester.cancel(request_id, reason)


async def _give_up_in_vain(connection: Connection, requester: Requester, nobody_s: float) -> None:
    """End waits that nothing can end: no router takes the request, or the store is gone."""
    led_s = reached_s = monotonic()
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        now_s = monotonic()
        try:
            if await connection.leads("router"):
                led_s = now_s
            elif now_s - led_s > nobody_s:
                await _give_up_unadmitted(requester)
            reached_s = now_s
        except (StoreUnavailableError, *UNAVAILABLE):
            led_s = now_s
            if now_s - reached_s > GONE_S:
                _give_up(requester.replies.all(), "store_unavailable", STORE_GONE)


async def _give_up_unadmitted(requester: Requester) -> None:
    """A request that was admitted may still be answered: its record and its worker are there."""
    for stream in requester.replies.all():
        if stream.entry_id is not None and await requester.look_up(stream.request_id) is None:
            _give_up([stream], "no_router", NO_ROUTER)


def _give_up(streams: list[ReplyStream], reason: str, message: str) -> None:
    for stream in streams:
        data = {"request_id": stream.request_id, "reason": reason, "message": message}
        stream.put(ReplyFinal(UNANSWERED, data, complete=False))
