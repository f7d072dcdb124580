"""Where the command writes: a terminal, a file or a pipe, any of which may fail or go away."""

import asyncio
import errno
import os
import select
import stat
import sys
from io import TextIOWrapper
from pathlib import Path

from cli.errors import UserError

LOOK_EVERY_S = 0.2
GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL

OWN_ERRORS = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO}
"""What writing fails with that talking to a store does not."""


def prepare() -> None:
    """What the output's encoding lacks becomes `?`; a closed one is nowhere instead of an error."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # else the next file or socket would get its number
            os.open(os.devnull, os.O_RDWR)
    nowhere = Path(os.devnull)
    sys.stdout = sys.stdout or nowhere.open("w")
    sys.stderr = sys.stderr or nowhere.open("w")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def not_written(error: OSError) -> UserError:
    return UserError(
        f"The output could not be written: {error.strerror}.", "Make room, or write elsewhere."
    )


async def reader_left() -> None:
    """Return when what is written goes into a pipe that nobody reads any more."""
    output = sys.stdout.fileno()
    mode = os.fstat(output).st_mode
    is_pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)  # macOS cannot poll a terminal
    poll = select.poll()
    poll.register(output, 0)
    while True:
        if is_pipe and any(events & GONE for _, events in poll.poll(0)):
            return
        await asyncio.sleep(LOOK_EVERY_S)
