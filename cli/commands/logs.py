"""`logs`."""

import time
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from cli.address import data_folder
from cli.commands.options import Data
from cli.errors import UserError
from cli.supervisor.folder import DataFolder

LOOK_EVERY_S = 0.2


class Follower:
    """Prints what is added to one log, also after that has been put aside for a new one."""

    def __init__(self, path: Path, label: str) -> None:
        self._path = path
        self._label = label
        self._inode, self._offset = 0, 0

    def print_last(self, count: int) -> None:
        with self._path.open("rb") as log:
            self._inode = self._path.stat().st_ino
            last = deque(log, maxlen=count)
            self._offset = log.tell()
        for line in last:
            self._print(line)

    def print_new(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as log:
            status = self._path.stat()
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset = status.st_ino, 0
            log.seek(self._offset)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._print(line)

    def _print(self, line: bytes) -> None:
        typer.echo(self._label + line.decode(errors="replace").rstrip("\n"))


def logs(
    process: Annotated[str | None, typer.Argument(help="One of `status`; default: all.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they grow.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines of each.")] = 20,
    data: Data = None,
) -> None:
    """What the processes logged.

    Example: ./roundhouse logs router -f
    """
    folder = DataFolder(data or data_folder())
    followers = _followers(folder, process)
    for follower in followers:
        follower.print_last(lines)
    while follow:
        time.sleep(LOOK_EVERY_S)
        for follower in followers:
            follower.print_new()


def _followers(folder: DataFolder, process: str | None) -> list[Follower]:
    written = sorted(folder.logs.glob("*.log"))
    if process is None:
        return [Follower(path, f"{path.stem:<17}| ") for path in written]
    if folder.log(process) not in written:
        known = ", ".join(path.stem for path in written) or "none yet"
        raise UserError(
            f"There is no log of {process} in {folder.logs}.", f"There are those of: {known}"
        )
    return [Follower(folder.log(process), "")]
