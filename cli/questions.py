"""Asking a service for what only it may reach, and waiting for its answer, but not for long."""

import asyncio
from typing import Any

from cli.errors import UserError
from cli.store import SOURCE, Connection
from shared.bus.envelope import envelope
from shared.bus.ids import random_id
from shared.bus.replies import ReplyFinal
from shared.bus.scripts import script
from shared.bus.tail import tail
from shared.events.base import Event

PATIENCE_S = 5.0
"""Longer than a service that lives takes to answer, or to say that it cannot."""

ANSWERED = "answered"


async def ask(
    connection: Connection, question: Event, service: str, patience_s: float = PATIENCE_S
) -> dict[str, Any]:
    """The service's answer. Raise `UserError` where it says that it has none, or says nothing."""
    requester = connection.requester()
    question_id = random_id()
    replies = {requester.reply_key: requester.replies.on_entries}
    listening = asyncio.create_task(tail(connection.client, replies, lookback_s=1))
    stream = requester.open(question_id, chunks=False)
    try:
        await _publish(connection, question, question_id, requester.name)
        async with asyncio.timeout(patience_s):
            answer = await stream.get()
    except TimeoutError:
        raise UserError(f"No {service} answers on this store.", "See ./roundhouse status") from None
    finally:
        stream.close()
        listening.cancel()
    assert isinstance(answer, ReplyFinal)  # noqa: S101 - nothing else was asked for
    if answer.outcome != ANSWERED:
        raise UserError(f"{service} cannot answer: {answer.data['message']}.", "Try again later.")
    return answer.data


async def _publish(
    connection: Connection, question: Event, question_id: str, reply_name: str
) -> None:
    fields = envelope(question, SOURCE, event_id=question_id)
    await connection.writer.run(
        script("publish"),
        keys={
            "stream": connection.keys.stream(type(question)),
            "guard": connection.keys.published(question_id),
        },
        events={"event": [*fields, "replyto", reply_name]},
    )
