"""What processes cost, read from /proc; Linux only."""

import contextlib
import os
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

PROC = Path("/proc")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
IDLE_FIELDS = (3, 4)
"""Of the first line of /proc/stat: idle, and waiting for a disk."""

MOST_FOREIGN = 0.10
"""Share of all cores that others may use while something is measured."""


def why_not_here() -> str:
    """Why nothing can be measured on this machine; "" where it can."""
    if sys.platform != "linux":
        return f"CPU time by process is read from /proc, which {sys.platform} does not have"
    if not (PROC / "self" / "schedstat").exists():
        return "this kernel tells no CPU time in nanoseconds (/proc/PID/schedstat)"
    return ""


@dataclass(frozen=True)
class Reading:
    """CPU seconds so far: by process, by ourselves, and by the whole machine."""

    at_s: float
    by_name: Mapping[str, float]
    machine_s: float
    bench_s: float


@dataclass(frozen=True)
class Used:
    """CPU seconds between two readings. `foreign` is the share of all cores that others used."""

    by_name: Mapping[str, float]
    foreign: float

    @property
    def trusted(self) -> bool:
        return self.foreign <= MOST_FOREIGN


def read(pids: Mapping[str, int]) -> Reading:
    """What a process started counts with it, unless it has a name of its own."""
    families = _families(apart=pids.values())
    return Reading(
        at_s=perf_counter(),
        by_name={name: sum(map(_cpu_s, _family(pid, families))) for name, pid in pids.items()},
        machine_s=_machine_s(),
        bench_s=_cpu_s(os.getpid()),
    )


def used(before: Reading, after: Reading) -> Used:
    by_name = {
        name: max(0.0, now_s - before.by_name.get(name, 0.0))
        for name, now_s in after.by_name.items()
    }
    ours_s = sum(by_name.values()) + after.bench_s - before.bench_s
    room_s = (after.at_s - before.at_s) * (os.cpu_count() or 1)
    foreign = (after.machine_s - before.machine_s - ours_s) / room_s
    return Used(by_name, foreign=max(0.0, foreign))


def pss_mib(pids: Mapping[str, int]) -> dict[str, float]:
    """Memory, of which what is shared with other processes counts in part."""
    families = _families(apart=pids.values())
    return {name: sum(map(_pss_kib, _family(pid, families))) / 1024 for name, pid in pids.items()}


def _families(apart: Collection[int]) -> Mapping[int, list[int]]:
    """The children of every process, without those that are counted apart."""
    families: dict[int, list[int]] = defaultdict(list)
    for stat in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            child, parent = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()[1]
            if child not in apart:
                families[int(parent)].append(child)
    return families


def _family(pid: int, families: Mapping[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in families.get(pid, ()):
        yield from _family(child, families)


def _cpu_s(pid: int) -> float:
    """User and kernel time of all threads that live."""
    total_ns = 0
    with contextlib.suppress(OSError):
        for thread in (PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                total_ns += int((thread / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def _pss_kib(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = PSS.search((PROC / str(pid) / "smaps_rollup").read_text())
        return int(found[1]) if found else 0
    return 0


def _machine_s() -> float:
    """Time that was not idle, on all cores; what a host took away counts too."""
    ticks = [int(each) for each in (PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(ticks) - sum(ticks[index] for index in IDLE_FIELDS)) * TICK_S
