"""One run: what is known already, then everything else, so many at a time."""

import asyncio
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cli.batch.asker import Asker, End
from cli.batch.lines import BadLine, Line, Requests, Wishes, opened
from cli.batch.progress import Progress, shown
from cli.batch.results import MOST_RETRIES, NOTHING, OTHERWISE, Lines, Results, held
from cli.batch.summary import Summary
from cli.errors import UserError
from cli.exchange import asking

SHOWN_BAD_LINES = 20


@dataclass(frozen=True)
class Bounds:
    """`retries_failed`: lines that ended without an answer are asked anew."""

    concurrency: int
    retries_failed: bool
    skips_invalid: bool


@dataclass(frozen=True)
class Report:
    """`finished` is False after Ctrl-C; `earlier` results were there before this run."""

    summary: Summary
    requests: int
    invalid: int
    earlier: int
    asked: int
    wall_s: float
    finished: bool


def run_file(
    file: Path, out: Path, wishes: Wishes, bounds: Bounds, data: Path | None, *, silent: bool
) -> Report:
    """Ask what has no result yet. Raise `UserError`."""
    began_s = monotonic()
    with opened(file, wishes) as requests:
        lines, invalid = survey(requests, bounds)
        with held(out, requests.status) as results:
            results.load(lines)
            run = Run(requests, lines, results, bounds)
            earlier, finished = lines.count - run.left, True
            if run.left:
                with shown(lines.count, earlier, silent=silent) as progress:
                    finished = asyncio.run(run.go(data, progress))
            if finished:
                results.settle(lines)
            summary, wall_s = Summary(results.all()), monotonic() - began_s
    return Report(summary, lines.count, invalid, earlier, run.asked, wall_s, finished)


def survey(requests: Requests, bounds: Bounds) -> tuple[Lines, int]:
    """Every line's id, and how many are invalid. Raise `UserError` where that may not be."""
    lines, bad = Lines(), 0
    shown = []
    for number, raw in requests.raw():
        match requests.parse(number, raw):
            case Line(id=line_id):
                lines.expect(number, line_id)
            case BadLine(why=why):
                bad += 1
                if bad <= SHOWN_BAD_LINES:
                    shown.append(f"{requests.name}:{number}: {why}")
    if bad and not bounds.skips_invalid:
        more = [f"and {bad - len(shown)} more"] if bad > len(shown) else []
        raise UserError(
            f"{bad} lines are no requests:\n" + "\n".join([*shown, *more]),
            "Nothing was sent. Correct them, or leave them out with --skip-invalid.",
        )
    if not lines.count:
        raise UserError(f"{requests.name} has no requests.", "Write one a line, as JSON.")
    return lines, bad


class Run:
    """`go` asks what is left, and adds each result as it comes."""

    def __init__(self, requests: Requests, lines: Lines, results: Results, bounds: Bounds) -> None:
        self._requests = requests
        self._lines = lines
        self._results = results
        self._bounds = bounds
        self._pending = self._left()
        self.left = lines.count - lines.completed
        if not bounds.retries_failed:
            self.left -= lines.otherwise
        self.asked = 0

    async def go(self, data: Path | None, progress: Progress) -> bool:
        """Whether it came to its end; False where Ctrl-C or SIGTERM was faster."""
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with asking(data, name=self._reply_name()) as requester:
            work = asyncio.create_task(self._work(Asker(requester, progress.say), progress))
            told = asyncio.create_task(stop.wait())
            await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            work.cancel()
            await asyncio.wait({work})
            if not work.cancelled():
                work.result()
        return not work.cancelled()

    async def _work(self, asker: Asker, progress: Progress) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._bounds.concurrency):
                    group.create_task(self._worker(asker, progress))
        except* UserError as failures:
            raise failures.exceptions[0] from None

    async def _worker(self, asker: Asker, progress: Progress) -> None:
        for line, retry in self._pending:
            end = await asker.ask(line, retry)
            self._results.add(_result(line, retry, end), self._lines)
            self.asked += 1
            progress.show(self._lines.count - self.left + self.asked, self._lines.otherwise)

    def _left(self) -> Iterator[tuple[Line, int]]:
        """What has to be asked, and how often it has ended without an answer."""
        for number, raw in self._requests.raw():
            if not self._has_to_be_asked(number):
                continue
            line = self._requests.parse(number, raw)
            if isinstance(line, BadLine) or not self._lines.knows(number, line.id):
                raise UserError(
                    f"Line {number} of {self._requests.name} changed while it was being read.",
                    "Run the same command again.",
                )
            failed = self._lines.end(number) == OTHERWISE
            yield line, min(self._lines.retries(number) + failed, MOST_RETRIES)

    def _has_to_be_asked(self, number: int) -> bool:
        if not self._lines.is_request(number):
            return False
        end = self._lines.end(number)
        return end == NOTHING or (end == OTHERWISE and self._bounds.retries_failed)

    def _reply_name(self) -> str:
        """The same whenever this file of results is written: nobody else reads that stream."""
        return f"run-{uuid5(NAMESPACE_URL, str(self._results.path.absolute())).hex}"


def _result(line: Line, retry: int, end: End) -> dict[str, Any]:
    data, outcome = end.final.data, end.final.outcome
    names = {"line": line.number, "id": line.id, "request_id": end.request_id}
    result = {**names, "retry": retry, "outcome": outcome}
    if outcome != "completed":
        of_error = ("reason", "message", "last_reason", "attempts")
        return {**result, "error": _some(data, of_error)}
    whole = ("output", "usage", "timings", "model", "node", "finish_reason")
    marks = {name: True for name in ("degraded", "noise") if data.get(name)}
    return {**result, **_some(data, whole), **marks}


def _some(data: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: data[name] for name in names if data.get(name) is not None}
