"""A service to watch the bus with: what is posted gets delivered, by offices of differing temper.

A handling leaves marks in the store, which nothing undoes: so that the tests see how often
a handler ran, beside how often its result was published.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Any, ClassVar

from redis.asyncio import Redis

from shared.bus.bus import Bus
from shared.bus.envelope import Message
from shared.bus.keys import Keys
from shared.events.base import Event
from shared.service import Service
from shared.settings import ServiceSettings
from tests.waiting import until

HANDLED, RETURNED = "handled", "returned"


class ParcelPosted(Event):
    type: ClassVar[str] = "tour.parcel_posted.v1"
    subject_field: ClassVar[str] = "parcel"

    parcel: str


class ParcelDelivered(Event):
    type: ClassVar[str] = "tour.parcel_delivered.v1"
    subject_field: ClassVar[str] = "parcel"

    parcel: str
    office: str


POSTED = Keys().stream(ParcelPosted)
DELIVERED = Keys().stream(ParcelDelivered)


class PoisonError(Exception):
    """This parcel cannot be delivered by anybody."""


class StumbledError(Exception):
    """This office can deliver it, but not now."""


class Office:
    """Delivers. Its temper is what it does to a parcel, or what a parcel does to it."""

    def __init__(self, bus: Bus, temper: str) -> None:
        self._bus = bus
        self._temper = temper
        self._stumbled = False

    async def deliver(self, message: Message[ParcelPosted]) -> Sequence[Event]:
        parcel = message.event.parcel
        await self._mark(HANDLED, parcel)
        if parcel.startswith("cursed"):
            raise PoisonError(parcel)
        await self._behave()
        await self._mark(RETURNED, parcel)
        return [ParcelDelivered(parcel=parcel, office=self._bus.instance)]

    async def _mark(self, mark: str, parcel: str) -> None:
        if self._temper != "leaves no marks":
            await self._bus.client.rpush(mark, f"{parcel} {self._bus.instance}")

    async def _behave(self) -> None:
        match self._temper:
            case "dies while handling":
                os.kill(os.getpid(), signal.SIGKILL)
            case "dies before settling":
                asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGKILL)
            case "takes its time":
                await asyncio.sleep(1.6)
            case "stumbles once" if not self._stumbled:
                self._stumbled = True
                raise StumbledError


def office(*, temper: str = "steady", **settings: Any) -> Service:
    """The service, for a process of its own or for the test's."""
    place = ServiceSettings(**settings)
    bus = Bus("post", place, consumes=(ParcelPosted,), publishes=(ParcelPosted, ParcelDelivered))
    bus.on(ParcelPosted, Office(bus, temper).deliver)
    return Service("post", place, bus)


async def post(client: Redis, *parcels: str) -> None:
    """As any program would: a plain XADD each."""
    pipeline = client.pipeline(transaction=False)
    for parcel in parcels:
        pipeline.xadd(POSTED, {"data": ParcelPosted(parcel=parcel).model_dump_json()})
    await pipeline.execute()


async def delivered(client: Redis) -> list[str]:
    """The parcels whose delivery was published, in that order."""
    rows: Any = await client.xrange(DELIVERED)
    return [ParcelDelivered.model_validate_json(fields[b"data"]).parcel for _, fields in rows]


async def handled(client: Redis, mark: str = HANDLED) -> list[str]:
    """Every handling that was begun, or returned, so far: which parcel, by which office."""
    marks: Any = await client.lrange(mark, 0, -1)  # type: ignore[misc]
    return [mark.decode() for mark in marks]


async def unsettled(client: Redis) -> int:
    """Entries that were delivered to an office and are not settled yet."""
    summary: Any = await client.xpending(POSTED, "post")
    return int(summary["pending"])


async def arrive(client: Redis, *parcels: str, timeout_s: float = 5.0) -> None:
    """Wait for exactly these deliveries, in this order."""

    async def arrived() -> bool:
        return await delivered(client) == list(parcels)

    with contextlib.suppress(AssertionError):
        await until(arrived, timeout_s)
    assert await delivered(client) == list(parcels)
