"""How far a run is: a bar where a person watches, a line now and then elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

LINE_EVERY_S = 10.0
SAY_AGAIN_S = 30.0
"""What is said again and again is said once in so long."""


class Progress(Protocol):
    def show(self, done: int, failed: int) -> None:
        """So many of all have ended, so many of them without an answer."""

    def say(self, note: str) -> None: ...


class Silence:
    """For programs, which get the summary."""

    def show(self, done: int, failed: int) -> None: ...

    def say(self, note: str) -> None: ...


class Lines:
    def __init__(self, total: int, done: int) -> None:
        self._total = total
        self._first = done
        self._began_s = self._shown_s = monotonic()
        self._said_s: dict[str, float] = {}

    def show(self, done: int, failed: int) -> None:
        now_s = monotonic()
        if now_s - self._shown_s < LINE_EVERY_S:
            return
        self._shown_s = now_s
        per_s = (done - self._first) / (now_s - self._began_s)
        left = f", {(self._total - done) / per_s:.0f} s left" if per_s else ""
        self._print(f"{done} of {self._total}, {failed} without an answer, {per_s:.1f}/s{left}")

    def say(self, note: str) -> None:
        now_s = monotonic()
        if now_s - self._said_s.get(note, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._said_s = {**dict(list(self._said_s.items())[-9:]), note: now_s}
            self._print(note)

    def _print(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class Bar(Lines):
    """rich's. What is said stands above it."""

    def __init__(self, total: int, done: int) -> None:
        super().__init__(total, done)
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = RichProgress.get_default_columns()[:3]
        failed = TextColumn("{task.fields[failed]}")
        self.drawn = RichProgress(
            *columns,
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            failed,
            console=Console(stderr=True, highlight=False, markup=False),
        )
        self._task = self.drawn.add_task("Asking", total=total, completed=done, failed="")

    def show(self, done: int, failed: int) -> None:
        said = f"{failed} without an answer" if failed else ""
        self.drawn.update(self._task, completed=done, failed=said)

    def _print(self, line: str) -> None:
        self.drawn.console.print(line)


@contextmanager
def shown(total: int, done: int, *, silent: bool) -> Iterator[Progress]:
    """Of a run that begins with so many done."""
    if silent:
        yield Silence()
    elif sys.stderr.isatty():
        bar = Bar(total, done)
        with bar.drawn:
            yield bar
    else:
        yield Lines(total, done)
