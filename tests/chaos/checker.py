"""The judge of a run. It reads the streams, the trail in Postgres, what clients were told and what
engines did; nothing of how the services work inside.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from shared.events.inference import (
    InferenceAttemptFailed,
    InferenceRouted,
    InferenceStarted,
)
from tests.chaos import executions, replies, trail
from tests.chaos.cell import ATTEMPTS, KEYS
from tests.chaos.engine import Execution, beginning_of_an_answer
from tests.chaos.load import Answer
from tests.chaos.plan import REAL, Way
from tests.chaos.tape import FINALS, INBOX, Heard, Tape
from tests.chaos.trail import Trail
from tests.journeys.checker import Entry, Story, judge

UNREAD_S = 15.0
"""For how long an entry may lie in the inbox before a router takes it in, while faults strike."""

UNSCRIPTED = (REAL, "task/rules")


@dataclass
class Evidence:
    """What is known of a run from outside."""

    tape: Tape
    promised: set[str] = field(default_factory=set)
    answers: list[Answer] = field(default_factory=list)
    trace: list[Execution] = field(default_factory=list)
    """What the scripted engines did."""
    trail: Trail = field(default_factory=Trail)


def violations(evidence: Evidence) -> list[str]:
    """All that must not be; empty where every promise was kept."""
    tape = evidence.tape
    told = stories(tape)
    twice = told_twice(tape)
    return [
        *(f"{each}: promised, but nobody has it" for each in evidence.promised - {*tape.accepted}),
        *_ends(tape, told, twice),
        *_conflicts(tape, told, twice),
        *(
            f"{each}: {what}"
            for each, story in told.items()
            if each not in twice
            for what in (*judge(each, story), *_bounded(story))
        ),
        *replies.violations(tape, told, twice),
        *trail.violations(evidence.trail, told, twice),
        *executions.violations(tape, told, twice, evidence.trace),
        *_clients(evidence, told, twice),
    ]


def stories(tape: Tape) -> dict[str, Story]:
    """All that was said about each request."""
    told: defaultdict[str, Story] = defaultdict(Story)
    for stream in (*FINALS, *(KEYS.stream(each) for each in _ABOUT_ATTEMPTS)):
        for heard in tape.heard[stream]:
            story = told[heard.attributes["subject"]]
            name = _ABOUT_ATTEMPTS_BY_STREAM.get(stream, "finals")
            getattr(story, name).append(_entry(heard))
    return dict(told)


_ABOUT_ATTEMPTS = {
    InferenceRouted: "routed",
    InferenceStarted: "started",
    InferenceAttemptFailed: "failed",
}
_ABOUT_ATTEMPTS_BY_STREAM = {KEYS.stream(event): name for event, name in _ABOUT_ATTEMPTS.items()}


def told_twice(tape: Tape) -> set[str]:
    """Requests whose repetition was admitted after the clock had leapt over all the time that
    their ids are remembered: they are new ones by then, as they would be an hour later.
    """
    asked_s: defaultdict[str, list[float]] = defaultdict(list)
    for heard in tape.heard[INBOX]:
        asked_s[heard.attributes.get("id") or heard.id].append(heard.at_s)
    return {
        request_id
        for request_id, times in asked_s.items()
        if any(times[0] < leap_s < times[-1] + UNREAD_S for leap_s in tape.leaps_s)
        and len(times) > 1
    }


def _entry(heard: Heard) -> Entry:
    when = {"at": heard.at, "at_s": heard.at_s, "since_s": heard.since_s}
    return {**heard.attributes, "data": heard.data, **when}


def _ends(tape: Tape, told: dict[str, Story], twice: set[str]) -> Iterator[str]:
    for request_id in tape.accepted.keys() - told.keys():
        yield f"{request_id}: accepted, but nothing was said about it"
    for request_id in told:
        if request_id.partition("#")[0] not in tape.accepted:
            yield f"{request_id}: nobody asked for it"
    for request_id in twice & told.keys():
        ends = told[request_id].finals
        if not 1 <= len(ends) <= 2 or len({entry["id"] for entry in ends}) != len(ends):
            yield f"{request_id}: {len(ends)} ends in two lives"


def _conflicts(tape: Tape, told: dict[str, Story], twice: set[str]) -> Iterator[str]:
    """Of several contents under one id, one is the request and every other entry is refused."""
    contents: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for heard in tape.heard[INBOX]:
        contents[heard.attributes.get("id") or heard.id][heard.data["digest"]] += 1
    refused = Counter(each.partition("#")[0] for each in told if "#" in each)
    for request_id, counted in contents.items():
        entries = counted.total()
        if request_id in twice:
            continue
        if refused[request_id] not in {entries - count for count in counted.values()}:
            yield f"{request_id}: {refused[request_id]} conflicts in {entries} entries"


def _bounded(story: Story) -> Iterator[str]:
    charged = sum(entry["data"].get("charge", 1) for entry in story.failed)
    if charged > ATTEMPTS.limit:
        yield f"{charged} attempts were charged to it, of {ATTEMPTS.limit} allowed"


def _clients(evidence: Evidence, told: dict[str, Story], twice: set[str]) -> Iterator[str]:
    """What HTTP clients were told agrees with what was said on the streams."""
    for answer in evidence.answers:
        request_id = answer.request_id
        story = told.get(request_id)
        if request_id in twice or answer.ask.way is Way.SUBMIT:
            continue
        ends = {entry["data"].get("content") for entry in story.finals} if story else set()
        scripted = answer.ask.model not in UNSCRIPTED
        if answer.whole and (answer.text not in ends or (scripted and not answer.text)):
            yield f"{request_id}: a client was told {answer.text!r}, the end says {ends}"
        if scripted and not beginning_of_an_answer(answer.text):
            yield f"{request_id}: a client read a mixture: {answer.text!r}"
