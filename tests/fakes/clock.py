"""The store's wall clock, which can be made to jump; its monotonic clock goes on as it should."""

import mmap
import os
import struct
from pathlib import Path

from tests.fakes.preload import preloaded

SOURCE = Path(__file__).parent / "clock.c"


class Clock:
    """`environment` is the store's. Without a C compiler the clock cannot jump."""

    def __init__(self, folder: Path) -> None:
        self.offset_s = 0.0
        self.environment = preloaded(SOURCE, folder)
        if not self.environment:
            return
        offset = folder / "clock"
        file = os.open(offset, os.O_RDWR | os.O_CREAT)
        os.ftruncate(file, mmap.PAGESIZE)
        self._page = mmap.mmap(file, mmap.PAGESIZE)
        os.close(file)
        self.environment["CLOCK_OFFSET"] = str(offset)

    @property
    def can_jump(self) -> bool:
        return bool(self.environment)

    def jump(self, by_s: float) -> None:
        self.offset_s += by_s
        struct.pack_into("q", self._page, 0, int(self.offset_s * 1e6))
