"""The machine: Python, packages, disk, memory, the port, the GPU."""

import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from cli.address import ROOT
from cli.doctor.finding import Finding, fail, ok, warn
from cli.errors import UserError
from cli.supervisor import ports
from cli.supervisor.folder import NEEDED_MIB

MIB = 1024 * 1024
OLDEST_PYTHON = (3, 11)
ROOMY_DISK_MIB = 2048
NEEDED_MEMORY_MIB = 400
"""What the services and the store take before any model is loaded."""

ROOMY_MEMORY_MIB = 2048
DRIVER = Path("/proc/driver/nvidia/version")
NVIDIA_SMI_S = 10
REINSTALL = f"Install again: rm -rf {ROOT}/.venv && ./roundhouse doctor"


def check_python() -> Finding:
    what = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return fail("python", what, "Install Python 3.11 or later, then remove .venv.")
    return ok("python", what)


def check_packages() -> Finding:
    """Against the pins that hold on every platform."""
    lines = (ROOT / "requirements" / "runtime.txt").read_text().splitlines()
    pins = [line.rstrip(" \\").split("==") for line in lines if "==" in line and ";" not in line]
    found = {name: _installed(name) for name, _ in pins}
    missing = [name for name, has in found.items() if has is None]
    other = [f"{name} {found[name]}" for name, pin in pins if found[name] not in (pin, None)]
    if missing:
        return fail("packages", f"missing: {', '.join(missing)}", REINSTALL)
    if other:
        return warn("packages", f"not as pinned: {', '.join(other)}", REINSTALL)
    return ok("packages", f"{len(pins)} installed as pinned")


def check_disk(folder: Path) -> Finding:
    """Of the data folder, or of what will hold it."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_mib = shutil.disk_usage(existing).free // MIB
    what = f"{free_mib / 1024:.1f} GiB free for {folder}"
    if free_mib < NEEDED_MIB:
        return fail("disk", what, "Make room, or choose another folder with --data DIR.")
    if free_mib < ROOMY_DISK_MIB:
        return warn("disk", what, "The store's files and the logs grow; keep 2 GiB free.")
    return ok("disk", what)


def check_memory() -> Finding:
    memory = psutil.virtual_memory()
    available_mib = memory.available // MIB
    what = f"{available_mib / 1024:.1f} of {memory.total / MIB / 1024:.1f} GiB available"
    if available_mib < NEEDED_MEMORY_MIB:
        return fail("memory", what, "End other programs; ./roundhouse up --compact needs least.")
    if available_mib < ROOMY_MEMORY_MIB:
        return warn("memory", what, "Little is left for models; consider up --compact.")
    return ok("memory", what)


def check_port(host: str, port: int) -> Finding:
    try:
        ports.check(host, port)
    except UserError as error:
        return fail("port", error.what, error.remedy)
    return ok("port", f"{port} on {host} is free")


def check_gpu() -> Finding:
    smi = shutil.which("nvidia-smi")
    if smi is None:
        if DRIVER.exists():
            return warn(
                "gpu",
                "there is an NVIDIA driver, but no nvidia-smi",
                "Install the driver's utilities (Debian, Ubuntu: nvidia-utils).",
            )
        return ok("gpu", "no NVIDIA driver; models run on the processor")
    query = [smi, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(  # noqa: S603 (a constant query)
            query, capture_output=True, text=True, timeout=NVIDIA_SMI_S, check=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        return warn(
            "gpu",
            f"nvidia-smi fails: {error}",
            "Load or reinstall the NVIDIA driver (often a reboot after its update is enough).",
        )
    return ok("gpu", "; ".join(answer.stdout.splitlines()))


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
