"""The inboxes of producers that have streams of their own, read by whoever leads."""

import asyncio
from collections.abc import Iterable

from redis.exceptions import ResponseError

from shared.bus.bus import Bus
from shared.bus.envelope import Entry
from shared.bus.group_read import BatchHandler, GroupRead
from shared.bus.trimming import forget_measures
from shared.events.inference import InferenceRequested
from shared.log import get_logger

log = get_logger()

AGAIN_S = 1.0


class Inboxes:
    """One for each producer that the configuration names, for one term.

    Read like the shared inbox, by the leaders' one consumer name; a key that is no stream holds up
    its own producer alone, and is said in /ready.
    """

    def __init__(self, bus: Bus, consumer: str, handler: BatchHandler) -> None:
        self._bus = bus
        self._consumer = consumer
        self._handler = handler
        self._reads: dict[str, GroupRead] = {}

    async def follow(self) -> None:
        """Begin and end reading as the configuration says, until cancelled."""
        while True:
            config = self._bus.config
            all_read = await self._read(
                self._bus.keys.stream(InferenceRequested, producer) for producer in config.producers
            )
            if not all_read:
                await asyncio.sleep(AGAIN_S)
            elif config is self._bus.config:
                await self._bus.configuration.changed()

    async def reread(self, every_s: float) -> None:
        """Handle what a predecessor, or a cut delivery, left pending; one inbox after another."""
        while True:
            for stream in list(self._reads):
                if left := await self._left(stream):
                    await self._handler(left)
            await asyncio.sleep(every_s)

    async def stop(self) -> None:
        await asyncio.gather(*(read.stop() for read in self._reads.values()))

    async def _read(self, wanted: Iterable[str]) -> bool:
        """Whether all of them are read now."""
        streams = set(wanted)
        for stream in self._reads.keys() - streams:
            await self._reads.pop(stream).stop()
            forget_measures()
            log.info("inbox_closed", stream=stream)
        for stream in streams - self._reads.keys():
            try:
                read = await self._bus.read_group(stream, self._consumer, self._handler)
            except ResponseError as error:
                log.warning("inbox_unreadable", stream=stream, error=str(error))
                self._bus.note_failure(error)
            else:
                self._reads[stream] = read
                log.info("inbox_opened", stream=stream)
        return streams == self._reads.keys()

    async def _left(self, stream: str) -> list[Entry]:
        try:
            return await self._bus.pending(stream, self._consumer)
        except ResponseError:  # its reader says so too, in /ready
            return []
