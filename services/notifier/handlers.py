"""What happened is queued for those who want to hear of it; what operators ask for is done."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from pydantic_core import from_json

from services.notifier.deliveries import Deliveries
from services.notifier.selection import OF_A_REQUEST, Occurrence, data_of, hears
from services.notifier.verdict import Answered
from shared.bus.bus import Bus
from shared.bus.configuration import endpoints_since
from shared.bus.consumption import Published
from shared.bus.dead_letters import ORIGINAL, DeadLetters, Letter
from shared.bus.envelope import Entry, Message, decode
from shared.bus.ids import derived_id
from shared.bus.notifications import letters_of, queued_since, undelivered
from shared.bus.questions import reply
from shared.events.notifications import (
    NotificationQueued,
    NotificationRedeliveryRequested,
    NotificationTestRequested,
)
from shared.events.operations import DeadLetter

if TYPE_CHECKING:
    from shared.config import Config

log = structlog.get_logger()

PASSED_ON = (*OF_A_REQUEST, "dataclass", "model", "traceparent")
"""Attributes that a receiver gets to see."""


class Notices:
    """Queues for every endpoint; the couriers deliver."""

    def __init__(self, bus: Bus, deliveries: Deliveries) -> None:
        self._bus = bus
        self._deliveries = deliveries
        self._since: dict[str, int] = {}
        self._since_of: Config | None = None

    async def on_event(self, message: Message[Any]) -> list[Published]:
        """Queue it for each endpoint that hears of it, in one step with the acknowledgement.

        Before the configuration is known nobody would hear of it, so it waits for that.
        """
        await self._bus.configuration.ready()
        if not self._bus.config.endpoints:
            return []
        occurrence, since = _occurrence(message), await self._configured_since()
        heard_by = [
            name
            for name, endpoint in self._bus.config.endpoints.items()
            if hears(name, endpoint, occurrence, since.get(name, 0))
        ]
        data = data_of(occurrence) if heard_by else {}
        return [
            Published(
                NotificationQueued(
                    notification_id=derived_id(NotificationQueued.type, occurrence.id, name),
                    event=occurrence.event,
                    time=occurrence.time,
                    data=data,
                    dataclass=occurrence.dataclass,
                ),
                name,
            )
            for name in heard_by
        ]

    async def on_test_requested(self, message: Message[NotificationTestRequested]) -> None:
        asked = message.event
        await self._bus.configuration.ready()
        courier = self._deliveries.courier(asked.endpoint)
        if courier is None:
            return await self._not_known(message.entry)
        outcome = await courier.test()
        data: dict[str, Any] = {"duration_ms": outcome.duration_ms}
        if isinstance(outcome, Answered):
            data |= {"status": outcome.status, "ok": 200 <= outcome.status < 300}
        else:
            data |= {"reason": outcome.reason, "message": outcome.message, "ok": False}
        return await reply(self._bus, message.entry, "answered", data)

    async def on_redelivery_requested(
        self, message: Message[NotificationRedeliveryRequested]
    ) -> None:
        asked = message.event
        await self._bus.configuration.ready()
        if self._deliveries.courier(asked.endpoint) is None:
            return await self._not_known(message.entry)
        if asked.failed:
            queued, waiting = await self._replay(asked.endpoint, None), 0
        else:
            queued, waiting = await self._queue_again(message)
        if asked.notification_id and not queued + waiting:
            queued = await self._replay(asked.endpoint, asked.notification_id)
        log.info("redelivery", endpoint=asked.endpoint, queued=queued, waiting=waiting)
        return await reply(
            self._bus, message.entry, "answered", {"queued": queued, "waiting": waiting}
        )

    async def _configured_since(self) -> dict[str, int]:
        if self._since_of is not self._bus.config:
            config = self._bus.config
            self._since = await endpoints_since(self._bus.client, self._bus.keys)
            self._since_of = config
        return self._since

    async def _queue_again(
        self, message: Message[NotificationRedeliveryRequested]
    ) -> tuple[int, int]:
        """How many were queued again, and how many wait for their delivery anyway.

        Up to the request only: what is queued here comes behind it in the same stream.
        """
        asked, queued, waiting = message.event, set[str](), set[str]()
        waits = await undelivered(self._bus.client, self._bus.keys, asked.endpoint)
        async for entry in self._kept(asked, message.entry.milliseconds):
            notification = decode(NotificationQueued, entry).event
            if asked.notification_id not in (None, notification.notification_id):
                continue
            if entry.id in waits:
                waiting.add(notification.notification_id)
            elif notification.notification_id not in queued:
                queued.add(notification.notification_id)
                await self._bus.publish(notification, node=asked.endpoint, ordinal=message.id)
        return len(queued), len(waiting)

    async def _kept(
        self, asked: NotificationRedeliveryRequested, until_ms: int
    ) -> AsyncIterator[Entry]:
        client, keys = self._bus.client, self._bus.keys
        async for entry in queued_since(client, keys, asked.endpoint, asked.since_ms or 0):
            if entry.milliseconds > until_ms:
                return
            yield entry

    async def _replay(self, endpoint: str, notification_id: str | None) -> int:
        """Put dead letters back on the endpoint's stream; how many."""
        letters = DeadLetters(self._bus.client, self._bus.keys)
        found: list[Letter] = [
            letter
            async for letter in letters_of(self._bus.client, self._bus.keys, endpoint)
            if notification_id
            in (None, letter.original.get(b"subject", b"").decode(errors="replace"))
        ]
        for letter in found:
            await letters.replay(letter.id)
        return len(found)

    async def _not_known(self, asked: Entry) -> None:
        known = ", ".join(sorted(self._bus.config.endpoints)) or "none"
        message = f"no such endpoint is in force; there are: {known}"
        await reply(self._bus, asked, "unknown_endpoint", {"message": message})


def _occurrence(message: Message[Any]) -> Occurrence:
    entry = message.entry
    is_letter = isinstance(message.event, DeadLetter)
    prefix = ORIGINAL.decode() if is_letter else ""
    attributes = {name: entry.text(prefix + name) for name in PASSED_ON}
    return Occurrence(
        event=message.event.type.removesuffix(".v1"),
        id=message.id,
        time=entry.text("time") or _utc(entry.milliseconds),
        at_ms=entry.milliseconds,
        data=from_json(entry.data),
        attributes={name: value for name, value in attributes.items() if value},
        letter=entry.id if is_letter else None,
        undelivered=_undelivered(message.event, entry) if is_letter else None,
    )


def _undelivered(letter: DeadLetter, entry: Entry) -> tuple[str, str] | None:
    contract, _, endpoint = letter.origin.partition(":")
    if contract != NotificationQueued.type:
        return None
    try:
        original = from_json(entry.fields[ORIGINAL + b"data"])
        return endpoint, str(original["event"])
    except (ValueError, KeyError, TypeError):
        return endpoint, "dead_letter"


def _utc(milliseconds: int) -> str:
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
