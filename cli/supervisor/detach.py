"""Starting the supervisor in the background."""

import os
import subprocess
import sys

from cli.supervisor.terminal import ANSWER, DETACHED_AND_READY, Terminal

DETACHED = "ROUNDHOUSE_DETACHED"
"""In the environment of the supervisor that runs in the background."""


def start_in_background(terminal: Terminal) -> int:
    """Run this command again in a session of its own, relay what it says until all is ready.

    Returns 0 then, or the exit code with which it failed. Ctrl-C before that ends it.
    """
    process = subprocess.Popen(  # noqa: S603 (this very command)
        [sys.executable, *sys.orig_argv[1:]],
        env={**os.environ, DETACHED: "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return _relay(process, terminal)
    except KeyboardInterrupt:
        process.terminate()
        return _relay(process, terminal)


def _relay(process: "subprocess.Popen[str]", terminal: Terminal) -> int:
    for line in process.stdout or ():
        if line.startswith(DETACHED_AND_READY):
            return 0
        if line.startswith(ANSWER):
            terminal.answer(line.removeprefix(ANSWER).rstrip("\n"))
        else:
            terminal.say(line.rstrip("\n"))
    return process.wait()
