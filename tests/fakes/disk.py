"""A disk for the store that is full whenever a test says so."""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "disk.c"


class Disk:
    """`environment` is the store's. Without a C compiler the disk cannot be filled."""

    def __init__(self, folder: Path) -> None:
        self._full = folder / "full"
        self.environment: dict[str, str] = {}
        compiler = shutil.which("cc")
        if compiler is None:
            return
        library = folder / "disk.so"
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O2", SOURCE, "-o", library, "-ldl"], check=True
        )
        self.environment = {"LD_PRELOAD": str(library), "DISK_IS_FULL": str(self._full)}

    def fill(self) -> None:
        self._full.touch()

    def clear(self) -> None:
        self._full.unlink()
