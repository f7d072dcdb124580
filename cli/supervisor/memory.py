"""How much memory processes use."""

import contextlib
from dataclasses import dataclass

import psutil

MIB = 1024 * 1024


@dataclass(frozen=True)
class Usage:
    """`pss_mib`: what is shared with other processes counts in part; None where not known.

    `children_mib` is the resident memory of what the process started itself, such as engines.
    """

    uptime_s: float
    rss_mib: float
    pss_mib: float | None
    children_mib: float


def usage(pid: int | None, now_s: float, *, with_children: bool = True) -> Usage | None:
    """Of a process that lives; `now_s` is the time of day."""
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        children = process.children(recursive=True) if with_children else []
        return Usage(
            uptime_s=now_s - process.create_time(),
            rss_mib=process.memory_info().rss / MIB,
            pss_mib=_pss_mib(process),
            children_mib=sum(map(_rss_mib, children)),
        )
    except psutil.Error:
        return None


def _pss_mib(process: psutil.Process) -> float | None:
    if not psutil.LINUX:
        return None
    with contextlib.suppress(psutil.Error):
        return float(process.memory_full_info().pss) / MIB
    return None


def _rss_mib(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        return float(process.memory_info().rss) / MIB
    return 0.0
