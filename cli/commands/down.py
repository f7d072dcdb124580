"""`down`."""

import json
import os
import signal
import time

from cli.address import data_folder
from cli.commands.options import Data, Json
from cli.errors import UserError
from cli.supervisor.folder import DataFolder
from cli.supervisor.terminal import Terminal

DOWN_WITHIN_S = 10.0


def down(data: Data = None, as_json: Json = False) -> None:
    """Stop what `up` started. Its data stays.

    Example: ./roundhouse down
    """
    terminal = Terminal()
    folder = DataFolder(data or data_folder())
    pid = folder.holder()
    if pid is None:
        _say(terminal, f"Nothing runs from {folder.root}.", as_json=as_json, stopped=None)
        return
    with terminal.busy("" if as_json else "Stopping"):
        os.kill(pid, signal.SIGTERM)
        deadline_s = time.monotonic() + DOWN_WITHIN_S
        while folder.holder() == pid:
            if time.monotonic() > deadline_s:
                raise UserError(
                    f"The supervisor (process {pid}) has not ended after {DOWN_WITHIN_S:g} s.",
                    f"End it with kill -9 {pid}: everything it started ends with it.",
                )
            time.sleep(0.05)
    _say(terminal, "Stopped.", as_json=as_json, stopped=pid)


def _say(terminal: Terminal, text: str, *, as_json: bool, stopped: int | None) -> None:
    """As JSON, the process id of the supervisor that was stopped."""
    terminal.say(json.dumps({"stopped": stopped}) if as_json else text)
