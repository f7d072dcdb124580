"""The monitor's one loop: read, compare, publish."""

import asyncio
from time import monotonic

import structlog

from services.vram_monitor.readings import Readings
from services.vram_monitor.samplers.best import BestSampler
from shared.bus.bus import Bus
from shared.events.base import Event

log = structlog.get_logger()


class Monitor:
    """Samples once per heartbeat. What could not be published is said with the next reading."""

    def __init__(self, bus: Bus, sampler: BestSampler, readings: Readings) -> None:
        self._bus = bus
        self._sampler = sampler
        self._readings = readings
        self._unsaid: list[tuple[Event, str]] = []
        self._said = 0
        self._silent = False

    async def run(self) -> None:
        while True:
            await self._read()
            await self._publish()
            await asyncio.sleep(self._bus.config.timing.heartbeat_s)

    def checks(self) -> dict[str, str]:
        """Not ready while a node that has GPUs cannot read one of them."""
        return {"devices": "no GPU answers" if self._silent else ""}

    async def _read(self) -> None:
        name, devices = await self._sampler.sample(monotonic())
        sample, changes = self._readings.on_reading(name, devices)
        self._silent = not sample.devices
        for change in changes:
            log.warning("device_changed", change=change.type, **change.model_dump())
        kept = [(event, ordinal) for event, ordinal in self._unsaid if not event.sampled]
        self._unsaid = [*kept, *map(self._numbered, (sample, *changes))]

    async def _publish(self) -> None:
        while self._unsaid:
            event, ordinal = self._unsaid[0]
            await self._bus.publish(event, ordinal=ordinal)
            del self._unsaid[0]

    def _numbered(self, event: Event) -> tuple[Event, str]:
        """With an ordinal, since the same device may lose and regain the same state."""
        self._said += 1
        return event, f"{self._bus.instance}:{self._said}"
