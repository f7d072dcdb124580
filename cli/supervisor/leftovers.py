"""Processes that a supervisor left behind when it was killed together with its guard."""

import contextlib
from collections.abc import Iterator

import psutil

MARKER = "ROUNDHOUSE_SUPERVISED_BY"
GRACE_S = 3.0


def end_leftovers(marker: str) -> int:
    """End every process started from the folder that `marker` names; return how many.

    The caller holds the folder. Two stores on the same files would ruin them, so nothing may be
    started before this.
    """
    left = list(_left(marker))
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(left, GRACE_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, GRACE_S)
    return len(left)


def _left(marker: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARKER) == marker:
                yield process
