"""What runs are summed up as: a table for people, and the same as JSON."""

import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.chaos.plan import LEAST_FAULTS
from tests.chaos.replies import LEAST_SHARE
from tests.chaos.run import Result
from tests.servers import valkey_binary

COLUMNS = (
    "seed",
    "requests",
    "faults",
    "seconds",
    "completed",
    "failed",
    "rejected",
    "cancelled",
    "retried",
    "takeover_s",
    "drained_s",
    "reborn",
    "doubled",
    "missing",
    "audit_rows",
    "replies_whole",
    "verdict",
)

ABOUT = """# Chaos

Real processes under fire: 2 routers, 2 gateways, 2 model-managers, 4 nodes with a worker and a
scripted engine each, llama.cpp with a tiny model on two of them, the audit-logger with its
Postgres, and a Valkey with its append-only file synced every second. Producers write the inbox
themselves and clients call the gateways, while everything is killed, frozen, cut off and put back,
and the store's clock is set. Then a checker reads the streams and Postgres:

- every accepted request has exactly one final event and one row in the trail;
- attempts are numbered without gap, charged within their bound, and none is executed twice;
- reply streams, and what HTTP clients were told, are one execution's answer, whole and in order;
- what anybody was told is taken is there, whatever was killed since.

`faults` are those that were carried out: with fewer than {least_faults} of 10 000 requests a run
fails, and a full one that lacks a kind. `retried` are requests with more than one attempt,
`takeover_s` is the longest time from the death of a leading router to its successor's first term
(the lease of a router is {lease_s} s here), `drained_s` how long after the last fault everything
had ended. Once in a run the store's clock leaps two hours; an id is remembered for one, so what is
published again after that is a new request: `reborn`. `doubled` are all others with two final
events, `missing` requests with none.

`replies_whole` is the share of requests whose reply stream was heard to say all of one answer:
without gap, with one end, and nothing after it. Of the others, too, all that was heard is judged;
the rest their gateway had trimmed, or it had expired with the leap, before the checker could read
it, or they were reborn. With less than {least_share:.0%} a run fails.

The store's files lie in memory (/dev/shm, where there is one). Where its sync comes late, on a slow
disk or on a machine without a free core, the store puts writes off by up to two seconds and answers
meanwhile; what it was told then is lost with its process. That is what `appendfsync everysec`
promises, and not what is tested here: before it is killed, while requests go on, the store is told
to put off nothing any more (`always`).
"""

MUTANT = """The same with one line of `finish.lua` taken out: that an executor's last word is heard
only while the attempt is still its own. Seed {seed}, {requests} requests, {faults} faults:
**{doubled} requests ended twice**, {findings} findings in all (`make chaos MUTANT=1`).
"""


def row(result: Result) -> dict[str, Any]:
    retried = sum(count for attempts, count in result.attempts.items() if attempts > 1)
    return {
        "seed": result.seed,
        "requests": result.requests,
        "faults": result.faults.total(),
        "seconds": round(result.took_s),
        **{kind: result.finals[kind] for kind in ("completed", "failed", "rejected", "cancelled")},
        "retried": retried,
        "takeover_s": round(max(result.takeovers_s, default=0.0), 2),
        "drained_s": round(result.drained_s, 1),
        "reborn": result.reborn,
        "doubled": result.doubled,
        "missing": result.missing,
        "audit_rows": "" if result.audit_rows is None else result.audit_rows,
        "replies_whole": str(result.replies),
        "verdict": "passed" if result.passed else "FAILED",
    }


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of Markdown; also what is printed."""
    cells = [[str(row[column]) for column in COLUMNS] for row in rows]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *cells, strict=True)]
    return [_line(line, widths) for line in (COLUMNS, ["-" * width for width in widths], *cells)]


def write(
    folder: Path, results: Sequence[Result], broken: Mapping[str, Any], lease_s: float
) -> None:
    """`chaos.md` and `chaos.json` of these runs, and of one with the fence taken out."""
    rows = [row(result) for result in results]
    seeds, requests = len(results), results[0].requests
    command = f"make chaos SEEDS={seeds} SEED={results[0].seed} REQUESTS={requests} REPORT=1"
    machine = _machine()
    lines = [
        ABOUT.format(lease_s=lease_s, least_faults=LEAST_FAULTS, least_share=LEAST_SHARE),
        f"`{command}` on {machine['date']}: {machine['cores']} cores, Python {machine['python']},"
        f" Valkey {machine['valkey']}, redis-py {machine['redis']}, commit {machine['commit']}.",
        "",
        *table(rows),
        "",
        *fault_table(results),
        "",
        "## Broken on purpose",
        "",
        MUTANT.format(**broken, findings=len(broken["found"])),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chaos.md").write_text("\n".join(lines))
    by_kind = [dict(sorted(result.faults.items())) for result in results]
    document = {
        "command": command,
        **machine,
        "seeds": [
            row | {"faults_by_kind": kinds} for row, kinds in zip(rows, by_kind, strict=True)
        ],
        "without_the_fence": {**broken, "found": broken["found"][:5]},
    }
    (folder / "chaos.json").write_text(json.dumps(document, indent=2) + "\n")


def fault_table(results: Sequence[Result]) -> list[str]:
    """Lines of Markdown: what was carried out in all these runs, and what was planned."""
    struck = sum((result.faults for result in results), Counter[str]())
    planned = sum((result.planned for result in results), Counter[str]())
    lines = [("fault", "carried out", "planned"), ("---", "---", "---")]
    lines += [(sort, str(struck[sort]), str(count)) for sort, count in sorted(planned.items())]
    widths = [max(len(line[0]) for line in lines), 11, 7]
    head = f"## {struck.total()} faults carried out, of {planned.total()} planned"
    return [head, "", *(_line(line, widths) for line in lines)]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"


def _machine() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "valkey": _said(valkey_binary(), "--version").partition("v=")[2].split(" ")[0],
        "redis": version("redis"),
        "commit": _said("git", "rev-parse", "--short", "HEAD"),
    }


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
