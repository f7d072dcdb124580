"""`run`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import Data, Json
from cli.input import argument_text
from shared.events.base import Priority

if TYPE_CHECKING:
    from cli.batch.run import Report

INTERRUPTED = 130

Requests = Annotated[Path, typer.Argument(help="JSONL, a request a line; - reads the input.")]
Out = Annotated[Path, typer.Option(help="Where the results go, a line each.")]
Concurrency = Annotated[int, typer.Option(min=1, max=1000, help="So many at a time, at most.")]
Task = Annotated[str | None, typer.Option(help="Instead of the lines' own.")]
Model = Annotated[str | None, typer.Option(help="Instead of the lines' own.")]
Urgency = Annotated[
    Priority | None, typer.Option(case_sensitive=False, help="Instead of the lines' own.")
]
Deadline = Annotated[
    float | None,
    typer.Option("--deadline-s", "--deadline", min=0.1, help="Of each request, in seconds."),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Ask again what ended without an answer.")
]
SkipInvalid = Annotated[
    bool, typer.Option("--skip-invalid", help="Leave out lines that are no requests.")
]


def run(
    file: Requests,
    out: Out,
    concurrency: Concurrency = 32,
    task: Task = None,
    model: Model = None,
    priority: Urgency = None,
    deadline_s: Deadline = None,
    retry_failed: RetryFailed = False,
    skip_invalid: SkipInvalid = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Ask every request of a file, and write every result to another.

    After Ctrl-C or a kill the same command goes on where it stopped. Exit code 1 unless all
    are completed.

    Example: ./roundhouse run requests.jsonl --out results.jsonl
    """
    from cli.batch.lines import Wishes
    from cli.batch.run import Bounds, run_file  # and redis-py, which --help can do without

    wishes = Wishes(
        task=task and argument_text(task),
        model=model and argument_text(model),
        priority=priority,
        deadline_ms=int(deadline_s * 1000) if deadline_s else None,
    )
    bounds = Bounds(concurrency, retry_failed, skip_invalid)
    report = run_file(file, out, wishes, bounds, data, silent=as_json)
    _say(report, out, as_json)
    if not report.finished:
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(0 if report.summary.all_completed else 1)


def _say(report: "Report", out: Path, as_json: bool) -> None:
    if as_json:
        document = {name: value for name, value in vars(report).items() if name != "summary"}
        typer.echo(json.dumps({"out": str(out), **document, **report.summary.document()}))
        return
    for line in report.summary.lines():
        typer.echo(line)
    asked = f"{report.asked} of {report.requests} requests asked in {report.wall_s:.1f} s"
    earlier = f", {report.earlier} had ended before" if report.earlier else ""
    invalid = f", {report.invalid} invalid lines left out" if report.invalid else ""
    typer.echo(f"{asked}{earlier}{invalid}; results in {out}")
    if not report.finished:
        typer.echo(
            "Stopped; what is in flight goes on. Run the same command again to ask the rest.",
            err=True,
        )
