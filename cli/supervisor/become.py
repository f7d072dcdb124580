"""From the command, which has parsed what a person typed, to the process that runs for weeks.

The command's parser (typer, and with it pydantic) takes 15 MB that the supervisor has no use for.
"""

import os
import pickle
import sys
from dataclasses import dataclass, replace
from typing import NoReturn

from cli.address import ROOT
from cli.supervisor.plan import Wishes
from cli.supervisor.services import Services

PROGRAM = "cli.supervisor"


@dataclass(frozen=True)
class Task:
    """What the supervisor is to do. `detached`: nobody sees what it says once all is ready.
    `as_json`: standard output is for one document.
    """

    wishes: Wishes
    services: Services
    detached: bool
    as_json: bool


def become_supervisor(task: Task) -> NoReturn:
    """Replace this program. The environment goes on as such, the rest through a pipe."""
    environment = task.wishes.environment
    handed = replace(task, wishes=replace(task.wishes, environment={}))
    reading, writing = os.pipe()
    os.write(writing, pickle.dumps(handed))
    os.close(writing)
    os.set_inheritable(reading, True)
    sys.stdout.flush()
    command = (sys.executable, "-P", "-m", PROGRAM, str(reading))
    os.execve(command[0], command, {"PYTHONPATH": str(ROOT), **environment})  # noqa: S606


def received(descriptor: int) -> Task:
    """What `become_supervisor` handed over."""
    with os.fdopen(descriptor, "rb") as pipe:
        task: Task = pickle.load(pipe)  # noqa: S301 - written by the program that this one was
    return replace(task, wishes=replace(task.wishes, environment=dict(os.environ)))
