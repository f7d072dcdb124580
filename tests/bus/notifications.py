"""An endpoint's stream with the notifiers that read it."""

from typing import Any

from redis.asyncio import Redis

from shared.bus.keys import Keys
from shared.bus.notifications import NotificationQueue, Taken
from shared.bus.writer import Writer
from shared.events.notifications import (
    NotificationDelivered,
    NotificationFailed,
    NotificationQueued,
)
from shared.events.operations import AlertRaised, AlertResolved
from tests.bus.stored import Stored, read

ENDPOINT = "n8n"
LONG_S, SHORT_S = 60.0, 0.05
ALERT = AlertRaised(alert="endpoint_off:n8n", summary="it is gone")
RESOLVED = AlertResolved(alert="endpoint_off:n8n", summary="it is back")


def delivered(taken: Taken) -> NotificationDelivered:
    return NotificationDelivered(
        notification_id="n",
        endpoint=ENDPOINT,
        event="dead_letter",
        status=204,
        attempts=taken.turn,
        duration_ms=1,
    )


FAILED = NotificationFailed(
    notification_id="n",
    endpoint=ENDPOINT,
    event="dead_letter",
    reason="status",
    message="HTTP 500",
    attempts=1,
)


class Queue:
    """An endpoint's stream, and the notifiers that read it."""

    def __init__(self, client: Redis, keys: Keys, writer: Writer) -> None:
        self.client, self.keys, self._writer = client, keys, writer
        self.stream = keys.stream(NotificationQueued, ENDPOINT)

    def notifier(self, name: str = "a") -> NotificationQueue:
        return NotificationQueue(self._writer, self.keys, name, ENDPOINT)

    async def add(self, *numbers: int) -> None:
        for number in numbers:
            event = NotificationQueued(
                notification_id=f"n{number}", event="dead_letter", time="t", data={}
            )
            fields: dict[Any, Any] = {"id": f"e{number}", "subject": f"n{number}"}
            await self.client.xadd(self.stream, {**fields, "data": event.model_dump_json()})

    async def take(
        self, name: str = "a", again: int = 10, room: int = 10, lease_s: float = LONG_S
    ) -> list[Taken]:
        taken = await self.notifier(name).take(again, room, lease_s)
        assert isinstance(taken, list)
        return taken

    async def stored(self) -> Stored:
        stored, _ = await read(self.client, self.keys)
        return stored
