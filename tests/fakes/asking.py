"""Somebody who asks for inferences, as the gateway does, and hears the answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pydantic_core import to_json
from redis.asyncio import Redis

from shared.bus.bus import Bus
from shared.bus.ids import request_id as new_id
from shared.bus.keys import Keys
from shared.bus.replies import ReplyDelta, ReplyFinal, ReplyStream
from shared.bus.requester import Requester
from shared.events.inference import InferenceRequested
from shared.settings import ServiceSettings

INBOX = Keys().stream(InferenceRequested)


class Asker:
    """Everything it asked for stays in `asked`, for the checker."""

    def __init__(self, requester: Requester) -> None:
        self.requester = requester
        self.asked: list[str] = []

    async def ask(
        self, text: str = "hello there", *, chunks: bool = False, again: str = "", **terms: Any
    ) -> ReplyStream:
        """Publish a request (`again`: with the id of an earlier one); its replies, to be read."""
        request_id = again or new_id()
        stream = self.requester.open(request_id, chunks=chunks)
        data = to_json({"input": {"messages": [{"role": "user", "content": text}]}})
        terms = {"model": "echo", "operation": "chat", "inputbytes": len(data)} | terms
        terms |= {"replyto": self.requester.name, "replymode": "chunks" if chunks else "final"}
        if request_id not in self.asked:
            self.asked.append(request_id)
        extensions = {name: str(value) for name, value in terms.items() if value != ""}
        await self.requester.publish(request_id, data, extensions, stream)
        return stream

    async def answer(self, text: str = "hello there", **terms: Any) -> ReplyFinal:
        return await final(await self.ask(text, **terms))


@asynccontextmanager
async def asking(redis_url: str, name: str = "asker") -> AsyncIterator[Asker]:
    bus = Bus(name, ServiceSettings(redis_url=redis_url))
    requester = Requester(bus.client, bus.writer, bus.keys, bus.name, name)
    bus.follow_entries({requester.reply_key: requester.replies.on_entries}, lookback_s=10)
    bus.background(requester.sweep)
    await bus.start()
    try:
        yield Asker(requester)
    finally:
        await bus.stop()


async def final(stream: ReplyStream, timeout_s: float = 20.0) -> ReplyFinal:
    """How the request ended, whatever came before."""
    return (await whole(stream, timeout_s))[1]


async def whole(
    stream: ReplyStream, timeout_s: float = 20.0
) -> tuple[list[ReplyDelta], ReplyFinal]:
    """All that was heard of a request: the pieces, then its end."""
    pieces: list[ReplyDelta] = []
    async with asyncio.timeout(timeout_s):
        async for reply in stream:
            if isinstance(reply, ReplyFinal):
                stream.close()
                return pieces, reply
            pieces.append(reply)
    raise AssertionError("the replies ended without an end")


def said(reply: ReplyFinal) -> str:
    """The answer's text."""
    assert reply.outcome == "completed", reply
    return str(reply.data["output"]["choices"][0]["message"]["content"])


async def xadd(client: Redis, data: str = "{}", **attributes: str) -> str:
    """A request as any program in any language writes it; the entry's id."""
    entry_id: bytes = await client.xadd(INBOX, {**attributes, "data": data})
    return entry_id.decode()
