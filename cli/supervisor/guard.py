"""A process that outlives the supervisor just long enough to end what it left behind.

It works on Linux and macOS, needs nothing of the programs it guards, and costs 1 MB. Groups
rather than processes are ended, so the engines that a worker started go with it.
"""

import contextlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

SCRIPT = Path(__file__).with_name("guard.sh")


class Guard:
    """Keeps one `guard.sh` told of the process groups that live."""

    def __init__(self) -> None:
        self._script: subprocess.Popen[bytes] | None = None

    def watch(self, groups: Iterable[int]) -> None:
        line = (" ".join(str(group) for group in groups) + "\n").encode()
        if not self._told(line):
            self.close()
            self._script = subprocess.Popen(  # noqa: S603 (a constant)
                ["/bin/sh", str(SCRIPT)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._told(line)

    def close(self) -> None:
        """The script ends by itself once its input does."""
        if self._script is not None and self._script.stdin is not None:
            self._script.stdin.close()
            self._script.wait()

    def _told(self, line: bytes) -> bool:
        if self._script is None or self._script.stdin is None:
            return False
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._script.stdin.write(line)
            return True
        return False
