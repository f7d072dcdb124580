"""Questions to a service that owns what others may not reach: asked by an event, answered on the
reply stream that it names, as an inference is.
"""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from shared.bus.bus import Bus
from shared.bus.envelope import Entry
from shared.bus.scripts import script
from shared.events.inference import MAX_REPLY_NAME_LENGTH


async def reply(bus: Bus, question: Entry, outcome: str, data: Mapping[str, Any]) -> None:
    """Answer whoever asked; a question that names no reply stream wants no answer.

    `data` may hold what JSON has no form for, such as times.
    """
    name = question.text("replyto")
    if not 0 < len(name) <= MAX_REPLY_NAME_LENGTH:
        return
    await bus.writer.run(
        script("reply"),
        keys={"reply": bus.keys.reply(name)},
        args={
            "id": question.text("id") or question.id,
            "outcome": outcome,
            "data": to_json(data),
        },
    )
