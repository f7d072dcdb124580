"""The supervisor as a program: from its task to its exit code."""

import asyncio
import sys
from functools import partial

from cli.errors import UserError, show
from cli.supervisor.become import Task
from cli.supervisor.folder import AlreadyRunsError, DataFolder
from cli.supervisor.terminal import Terminal
from cli.supervisor.up import up


def run(task: Task) -> None:
    """Exit when all of it has ended."""
    terminal = Terminal(as_json=task.as_json, detached=task.detached)
    folder = DataFolder(task.wishes.data)
    log = folder.log("supervisor")
    ready = partial(terminal.leave_for, log) if task.detached else terminal.stay
    try:
        asyncio.run(up(task.wishes, task.services, terminal, ready))
    except UserError as error:
        if isinstance(error, AlreadyRunsError):
            terminal.already_runs(folder)
        show(error)
        sys.exit(1)
