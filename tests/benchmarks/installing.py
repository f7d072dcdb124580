"""Programs that only benchmarks need, each in an environment of its own, kept between runs."""

import asyncio
import shutil
import sys
from pathlib import Path
from subprocess import DEVNULL, STDOUT

from tests.benchmarks.systems import NotHereError


async def environment(cache: Path, name: str, *packages: str) -> Path:
    """The folder of an environment with these packages. Raise `NotHereError` without them."""
    home, log = cache / name, cache / f"{name}-install.log"
    wanted = " ".join(packages)
    if _installed(home) == wanted:
        return home
    _clear(home)
    pip = (str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install")
    for command in ((sys.executable, "-m", "venv", str(home)), (*pip, *packages)):
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=file, stderr=STDOUT
            )
            if await process.wait():
                raise NotHereError(f"{wanted} could not be installed; see {cache.name}/{log.name}")
    (home / "installed").write_text(wanted)
    return home


def _installed(home: Path) -> str | None:
    complete = home / "installed"
    return complete.read_text() if complete.exists() else None


def _clear(home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(home, ignore_errors=True)
