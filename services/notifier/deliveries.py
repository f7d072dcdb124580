"""A loop per endpoint: takes what is due, delivers it, and settles what became of it."""

import asyncio
import random
from collections.abc import Callable, Mapping

import structlog

from services.notifier.courier import Courier
from services.notifier.webhook import Caller
from shared.bus.bus import Bus
from shared.bus.connection import UNAVAILABLE

log = structlog.get_logger()

AGAIN_S = 0.5
FINISH_S = 1.2
"""How long a stop waits for attempts that are under way."""


class Deliveries:
    """`environment` holds the secrets. `lot` gives numbers from 0 to 1."""

    def __init__(
        self,
        bus: Bus,
        caller: Caller,
        environment: Mapping[str, str],
        lot: Callable[[], float] = random.random,
    ) -> None:
        self._bus = bus
        self._caller = caller
        self._environment = environment
        self._lot = lot
        self._couriers: dict[str, Courier] = {}
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    def courier(self, endpoint: str) -> Courier | None:
        """None for an endpoint that is not configured."""
        if endpoint not in self._bus.config.endpoints:
            return None
        if endpoint not in self._couriers:
            self._couriers[endpoint] = Courier(
                self._bus, self._caller, endpoint, self._environment, self._lot
            )
        return self._couriers[endpoint]

    async def run(self) -> None:
        """Keep one loop for each endpoint that is configured, until cancelled."""
        try:
            while not self._stopping:
                for endpoint in self._bus.config.endpoints:
                    if endpoint not in self._loops or self._loops[endpoint].done():
                        self._loops[endpoint] = asyncio.create_task(self._keep(endpoint))
                await self._bus.configuration.changed()
        finally:
            await self._cancel()

    async def stop(self) -> None:
        """Take nothing more, and give back what is not delivered soon."""
        self._stopping = True
        await self._cancel()
        await asyncio.gather(*(each.finish(FINISH_S) for each in self._couriers.values()))

    async def _keep(self, endpoint: str) -> None:
        while courier := self.courier(endpoint):
            try:
                await courier.round()
            except UNAVAILABLE:
                await asyncio.sleep(AGAIN_S)
            except Exception as error:
                log.exception("round_failed", endpoint=endpoint)
                self._bus.note_failure(error)
                await asyncio.sleep(AGAIN_S)

    async def _cancel(self) -> None:
        for loop in self._loops.values():
            loop.cancel()
        await asyncio.gather(*self._loops.values(), return_exceptions=True)
