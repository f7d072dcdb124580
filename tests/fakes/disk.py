"""A disk for the store that is full whenever a test says so."""

from pathlib import Path

from tests.fakes.preload import preloaded

SOURCE = Path(__file__).parent / "disk.c"


class Disk:
    """`environment` is the store's. Without a C compiler the disk cannot be filled."""

    def __init__(self, folder: Path) -> None:
        self._full = folder / "full"
        self.environment = preloaded(SOURCE, folder)
        if self.environment:
            self.environment["DISK_IS_FULL"] = str(self._full)

    def fill(self) -> None:
        self._full.touch()

    def clear(self) -> None:
        self._full.unlink()
