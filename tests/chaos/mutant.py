"""A copy of this tree with the fence taken out: the checker must find what that lets happen."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("cli", "services", "shared", "tests")
SCRIPT = Path("shared/bus/lua/finish.lua")
FENCE = (
    "if record[1] ~= 'running' or record[2] ~= attempt or record[3] ~= executor"
    " then return { 'fenced' } end\n"
)
"""By it an executor's last word is heard only while the attempt is still its own."""


def run(folder: Path, seed: int, requests: int) -> dict[str, Any]:
    """Put the copy under fire, in `folder`; the row of its table, with what was found."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.pyc"))
    script = (folder / SCRIPT).read_text()
    assert FENCE in script
    (folder / SCRIPT).write_text(script.replace(FENCE, ""))
    result = folder / "result.json"
    options = ["--seed", str(seed), "--requests", str(requests), "--json", str(result)]
    subprocess.run(
        [sys.executable, "-m", "tests.chaos", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "TMPDIR": str(folder)},
        check=False,
    )
    [row] = json.loads(result.read_text())
    return dict(row)
