"""What Postgres says of a run, held against what was said on the streams."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shared.events.inference import InferenceCompleted
from tests.databases import Postgres
from tests.journeys.checker import Story


@dataclass(frozen=True, slots=True)
class Trail:
    """The rows that are judged."""

    requests: Sequence[dict[str, Any]] = ()
    attempts: Sequence[dict[str, Any]] = ()


def read(postgres: Postgres) -> Trail:
    return Trail(
        postgres.rows("SELECT request_id, event_id, outcome, attempts FROM requests"),
        postgres.rows("SELECT request_id, attempt, outcome FROM attempts"),
    )


def recorded(postgres: Postgres) -> int:
    """How many requests have a row by now."""
    [row] = postgres.rows("SELECT count(*) AS number FROM requests")
    return int(row["number"])


def violations(trail: Trail, told: dict[str, Story], twice: set[str]) -> Iterator[str]:
    """Exactly one row for each end, and one for each attempt that failed or answered."""
    rows = Counter(row["request_id"] for row in trail.requests)
    for request_id in told.keys() | rows.keys():
        lives = len(told[request_id].finals) if request_id in twice & told.keys() else 1
        if rows[request_id] != lives:
            yield f"{request_id}: {rows[request_id]} rows in the trail"
    for row in trail.requests:
        story = told.get(row["request_id"])
        ends = {(end["id"], end["type"].split(".")[1]) for end in story.finals} if story else set()
        if story and (row["event_id"], row["outcome"]) not in ends:
            yield f"{row['request_id']}: the trail says {row['outcome']}, the streams {ends}"
    yield from _attempts(trail, told, twice)


def _attempts(trail: Trail, told: dict[str, Story], twice: set[str]) -> Iterator[str]:
    kept = {(row["request_id"], row["attempt"]): row["outcome"] for row in trail.attempts}
    for request_id, story in told.items():
        if request_id in twice:
            continue
        for entry in story.failed:
            if (request_id, entry["data"]["attempt"]) not in kept:
                yield f"{request_id}: attempt {entry['data']['attempt']} is not in the trail"
        for entry in story.finals:
            answered = entry["type"] == InferenceCompleted.type
            if answered and kept.get((request_id, entry["data"]["attempt"])) != "completed":
                yield f"{request_id}: the attempt that answered is not in the trail"
