"""The store's clock between two looks at it: all deadlines and leases are in its time."""

from time import monotonic

from shared.bus.writer import Writer


class StoreClock:
    """Extrapolates by the monotonic clock, so that a jump of the wall clock changes nothing."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._offset_ms = 0.0
        self.set_back_ms = 0.0
        """By how much, at least, the store's clock was set back between the last two looks."""

    async def look(self) -> int:
        """Ask the store; its time in milliseconds."""
        asked_ms = monotonic() * 1000
        seconds, microseconds = await self._writer.send("TIME")
        store_ms = int(seconds) * 1000 + int(microseconds) / 1000
        # An answer that came late looks like a step back, but for the time that it may have taken.
        self.set_back_ms = max(0.0, self._offset_ms - (store_ms - asked_ms))
        self._offset_ms = store_ms - monotonic() * 1000
        return int(store_ms)

    def now_ms(self) -> int:
        return int(monotonic() * 1000 + self._offset_ms)
