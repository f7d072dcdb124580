"""Reading and applying the configuration in a process that ends at once.

YAML, pydantic and redis-py would take 30 MB of the supervisor for as long as it runs.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

from cli.address import ROOT
from cli.errors import UserError

REFUSED = 1
"""Exit code with a document that says why; with any other one something went wrong."""

PROGRAM = (sys.executable, "-P", "-m", "cli.supervisor.configure")


class NotConfiguredError(Exception):
    """It could not be put in force; the store may be restarting."""


async def read(file: Path) -> dict[str, Any]:
    """The configuration as a document. Raise `UserError` for one that cannot work."""
    try:
        return await _run("read", file, {})
    except NotConfiguredError as error:
        raise UserError(f"{file} could not be read: {error}.", "See ./roundhouse check") from error


async def put_in_force(file: Path | None, url: str, prefix: str) -> str:
    """Apply the file; None keeps what is in force, or applies the built-in configuration.

    Returns the key that stands in the store from then on. Raises `UserError` for a file that
    cannot work, else `NotConfiguredError`.
    """
    answer = await _run("apply", file, {"REDIS_URL": url, "ROUNDHOUSE_PREFIX": prefix})
    return str(answer["key"])


async def _run(action: str, file: Path | None, environment: dict[str, str]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(*PROGRAM, action, str(file or "")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    said, complaint = await process.communicate()
    if process.returncode not in (0, REFUSED) or not said:
        last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
        raise NotConfiguredError(last or f"exit code {process.returncode}")
    answer: dict[str, Any] = json.loads(said)
    if process.returncode == REFUSED:
        raise UserError(answer["what"], answer["remedy"])
    return answer
