"""`logs`."""

import json
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cli.address import data_folder
from cli.commands.options import Data, Json
from cli.errors import UserError
from cli.supervisor.folder import DataFolder

LOOK_EVERY_S = 0.2


class Follower:
    """Prints what is added to one log, also after that has been put aside for a new one."""

    def __init__(self, path: Path, show: Callable[[str], str]) -> None:
        self._path = path
        self._show = show
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
        typer.echo(self._show(line.decode(errors="replace").rstrip("\n")))


def logs(
    process: Annotated[str | None, typer.Argument(help="One of `status`; default: all.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they grow.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines of each.")] = 20,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """What the processes logged. With --json, an object a line: `process` and `line`.

    Example: ./roundhouse logs router -f
    """
    folder = DataFolder(data or data_folder())
    followers = _followers(folder, process, as_json=as_json)
    for follower in followers:
        follower.print_last(lines)
    while follow:
        time.sleep(LOOK_EVERY_S)
        for follower in followers:
            follower.print_new()


def _followers(folder: DataFolder, process: str | None, *, as_json: bool) -> list[Follower]:
    written = sorted(folder.logs.glob("*.log"))
    if process is not None and folder.log(process) not in written:
        known = ", ".join(path.stem for path in written) or "none yet"
        raise UserError(
            f"There is no log of {process} in {folder.logs}.", f"There are those of: {known}"
        )
    paths = written if process is None else [folder.log(process)]
    if as_json:
        return [Follower(path, partial(_document, path.stem)) for path in paths]
    return [Follower(path, partial(_line, path.stem if process is None else "")) for path in paths]


def _line(process: str, line: str) -> str:
    return f"{process:<17}| {line}" if process else line


def _document(process: str, line: str) -> str:
    return json.dumps({"process": process, "line": line})
