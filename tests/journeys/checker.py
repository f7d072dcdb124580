"""The judge of every journey: it reads the streams, as an auditor would, and nothing else."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio
from pydantic_core import from_json

from shared.bus.ids import final_id
from shared.bus.keys import Keys
from shared.events.inference import (
    InferenceAttemptFailed,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRejected,
    InferenceRouted,
    InferenceStarted,
)

FINALS = (InferenceCompleted, InferenceFailed, InferenceRejected, InferenceCancelled)
KEYS = Keys()

Entry = dict[str, Any]
"""Attributes of an event, its `data` decoded, and `at`: its place in the order of all events."""


@dataclass(slots=True)
class Story:
    """All that was said about one request, each kind in its order."""

    routed: list[Entry] = field(default_factory=list)
    started: list[Entry] = field(default_factory=list)
    failed: list[Entry] = field(default_factory=list)
    finals: list[Entry] = field(default_factory=list)


async def said(client: redis.asyncio.Redis, stream: str) -> list[Entry]:
    """All entries of a stream, decoded."""
    rows: Any = await client.xrange(stream)
    return [
        {
            name.decode(): from_json(value) if name == b"data" else value.decode()
            for name, value in fields.items()
        }
        | {"at": int(entry_id.split(b"-")[0])}
        for entry_id, fields in rows
    ]


async def finals(client: redis.asyncio.Redis) -> Counter[str]:
    """How many final events each request has, in all their streams together."""
    counted: Counter[str] = Counter()
    for event in FINALS:
        counted.update(entry["subject"] for entry in await said(client, KEYS.stream(event)))
    return counted


async def outcomes(client: redis.asyncio.Redis) -> Counter[str]:
    return Counter({event.type: await client.xlen(KEYS.stream(event)) for event in FINALS})


async def stories(client: redis.asyncio.Redis) -> dict[str, Story]:
    """By request. A conflict is a story of its own, `<id>#<entry id>`."""
    told: defaultdict[str, Story] = defaultdict(Story)
    for entry in await said(client, KEYS.stream(InferenceRouted)):
        told[entry["subject"]].routed.append(entry)
    for entry in await said(client, KEYS.stream(InferenceStarted)):
        told[entry["subject"]].started.append(entry)
    for entry in await said(client, KEYS.stream(InferenceAttemptFailed)):
        told[entry["subject"]].failed.append(entry)
    for event in FINALS:
        for entry in await said(client, KEYS.stream(event)):
            told[entry["subject"]].finals.append(entry)
    return dict(told)


async def everything_ended_once(client: redis.asyncio.Redis, asked: Iterable[str]) -> None:
    """Exactly one end for each request, attempts that tell a coherent story, no slot in use."""
    told, asked = await stories(client), set(asked)
    wrong = [f"{each}: nothing was said about it" for each in asked - told.keys()]
    wrong += [f"{each}: nobody asked for it" for each in told if each.split("#")[0] not in asked]
    wrong += [f"{each}: {what}" for each, story in told.items() for what in judge(each, story)]
    assert not wrong, "\n".join(wrong[:20])
    assert await client.zcard(KEYS.flight) == 0, "an attempt still holds its slot"


def judge(request: str, story: Story) -> Iterator[str]:
    """What is wrong with one request's story."""
    yield from _judge_numbers(story)
    if len(story.finals) != 1:
        yield f"{len(story.finals)} ends: {[entry['type'] for entry in story.finals]}"
        return
    [final] = story.finals
    if final["id"] != final_id(request, final.get("inboxentry", "")):
        yield "the id of its end is not the one that names it"
    yield from _judge_order(story, final["at"])
    if final["type"] == InferenceCompleted.type:
        yield from _judge_answer(story, final["data"])


def _judge_numbers(story: Story) -> Iterator[str]:
    """Attempts are numbered without gap or repeat; each starts, and fails, at most once."""
    routed = _attempts(story.routed)
    if routed != list(range(1, len(routed) + 1)):
        yield f"its attempts have the numbers {routed}"
    for verb, numbers in (
        ("started", _attempts(story.started)),
        ("failed", _attempts(story.failed)),
    ):
        if len(numbers) != len(set(numbers)):
            yield f"attempts {verb} twice: {numbers}"
        if not set(numbers) <= set(routed):
            yield f"attempts {verb} that nobody routed: {numbers} of {routed}"


def _judge_order(story: Story, ended_at: int) -> Iterator[str]:
    """An attempt follows upon the failure of the one before it, and nothing upon the end."""
    failed_at = {entry["data"]["attempt"]: entry["at"] for entry in story.failed}
    for entry in story.routed[1:]:
        before = entry["data"]["attempt"] - 1
        if before not in failed_at:
            yield f"attempt {before} never failed, but another followed"
        elif failed_at[before] > entry["at"]:
            yield f"attempt {before + 1} began before the failure of attempt {before}"
    late = [entry["type"] for entry in (*story.routed, *story.started) if entry["at"] > ended_at]
    if late:
        yield f"after its end: {late}"


def _judge_answer(story: Story, answer: dict[str, Any]) -> Iterator[str]:
    """It is that of the last attempt, by the node that was given it."""
    attempt = answer["attempt"]
    routed = {entry["data"]["attempt"]: entry["data"]["node"] for entry in story.routed}
    if attempt != len(routed) or answer["node"] != routed.get(attempt):
        yield f"answered by attempt {attempt} on {answer['node']}, of those routed {routed}"
    if attempt not in _attempts(story.started):
        yield "answered by an attempt that never started"
    if attempt in _attempts(story.failed):
        yield f"attempt {attempt} both failed and answered"


def _attempts(entries: list[Entry]) -> list[int]:
    return [entry["data"]["attempt"] for entry in entries]
