"""The store's clock between two looks at it: all deadlines and leases are in its time."""

from time import monotonic

from shared.bus.writer import Writer


class StoreClock:
    """Extrapolates by the monotonic clock, so that a jump of the wall clock changes nothing."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._offset_ms = 0.0

    async def look(self) -> int:
        """Ask the store; its time in milliseconds."""
        seconds, microseconds = await self._writer.send("TIME")
        store_ms = int(seconds) * 1000 + int(microseconds) / 1000
        self._offset_ms = store_ms - monotonic() * 1000
        return int(store_ms)

    def now_ms(self) -> int:
        return int(monotonic() * 1000 + self._offset_ms)
