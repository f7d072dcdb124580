"""NVIDIA's library without a driver or a device: `nvml.c`, compiled, and its state file."""

import ctypes
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
LIBRARY = "libnvidia-ml.so.1"

NOT_SUPPORTED, DRIVER_NOT_LOADED, GPU_IS_LOST = 3, 9, 15

TWO_GPUS = (
    "gpu GPU-a 24576 9588 97 341000 123456 71",
    "gpu GPU-b 12288 300 0 14000 500 38",
    "process 0 777 9200",
)


def compiler() -> str | None:
    return shutil.which("gcc") or shutil.which("cc")


def build(folder: Path) -> Path:
    """Compile the library into `folder`, under the name by which it is loaded."""
    library = folder / LIBRARY
    command = [compiler() or "cc", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}", "-Wall", "-Wextra"]
    command += ["-Werror", "-Wno-unused-parameter", "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True)
    return library


def preload(library: Path) -> None:
    """From now on loading the library by its bare name finds this one."""
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


class FakeHardware:
    """The devices that the library sees; every call reads them anew."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def set(self, *lines: str) -> None:
        replacement = self.path.with_suffix(".new")
        replacement.write_text("\n".join(lines) + "\n")
        replacement.replace(self.path)
