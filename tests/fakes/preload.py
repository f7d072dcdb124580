"""Libraries in C that stand before the C library's own functions, in a process of a test."""

import shutil
import subprocess
from pathlib import Path


def preloaded(source: Path, folder: Path) -> dict[str, str]:
    """The environment that loads it; empty where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return {}
    library = folder / f"{source.stem}.so"
    command = [compiler, "-shared", "-fPIC", "-O2", source, "-o", library, "-ldl"]
    subprocess.run(command, check=True)
    return {"LD_PRELOAD": str(library)}
