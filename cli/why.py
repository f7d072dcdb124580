"""Where a request's time went, told from its record and the streams. Pure.

All times are milliseconds of the store's clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.spans import Span, Spans
from shared.bus.records import State
from shared.events.base import Event
from shared.events.inference import InferenceAttemptFailed, InferenceRouted, InferenceStarted
from shared.events.models import ModelState, ModelStateChanged

Happened = Sequence[tuple[int, Event]]
Changes = Sequence[tuple[int, ModelStateChanged]]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a request. `candidates` says of each model where it is now, in words."""

    request_id: str
    record: Mapping[str, str]
    now_ms: int
    result: Mapping[str, Any] | None = None
    events: Happened = ()
    changes: Changes = ()
    candidates: Mapping[str, str] = field(default_factory=dict)

    def stamp_ms(self, name: str) -> int | None:
        return int(self.record[name]) if self.record.get(name) else None

    @property
    def admitted_ms(self) -> int:
        return self.stamp_ms("admitted_ms") or self.now_ms

    @property
    def until_ms(self) -> int:
        return self.stamp_ms("finished_ms") or self.now_ms


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened, so long after the request was admitted."""

    at_ms: int
    what: str


@dataclass(frozen=True, slots=True)
class Story:
    """`sentence` says where the time went, `steps` what happened when.

    `parts` add up to `total_ms`, which is from admission to the end, or to now.
    """

    request_id: str
    state: str
    outcome: str | None
    sentence: str
    total_ms: int
    parts: dict[str, int]
    model: str | None
    node: str | None
    attempts: int
    steps: tuple[Step, ...]


def tell(facts: Facts) -> Story:
    record = facts.record
    return Story(
        request_id=facts.request_id,
        state=record["state"],
        outcome=record.get("outcome"),
        sentence=_sentence(facts),
        total_ms=facts.until_ms - facts.admitted_ms,
        parts=parts(facts),
        model=record.get("model") or None,
        node=record.get("node") or None,
        attempts=int(record.get("attempt") or 0),
        steps=_steps(facts),
    )


# --- where the time went -------------------------------------------------------------------------


def parts(facts: Facts) -> dict[str, int]:
    """The time from admission to the end, or to now, by what it was spent on."""
    whole = Span(facts.admitted_ms, facts.until_ms)
    failed = Spans(_failed_attempts(facts))
    running = _last_run(facts, whole, failed)
    waiting = Spans([whole]).without(failed).without(Spans([running] if running else []))
    loading = waiting.within(Spans(_loads(facts)))
    found = {
        "loading": loading.length_ms,
        "queue": waiting.length_ms - loading.length_ms,
        "failed attempts": failed.length_ms,
        **_computing(facts, running.length_ms if running else 0, loading.length_ms),
    }
    return {name: spent_ms for name, spent_ms in found.items() if spent_ms > 0}


def _failed_attempts(facts: Facts) -> list[Span]:
    began: dict[int, int] = {}
    spans = []
    for at_ms, event in facts.events:
        if isinstance(event, InferenceRouted | InferenceStarted):
            began[event.attempt] = at_ms
        elif isinstance(event, InferenceAttemptFailed) and event.attempt in began:
            spans.append(Span(began[event.attempt], at_ms))
    return spans


def _last_run(facts: Facts, whole: Span, failed: Spans) -> Span | None:
    """Of the attempt that did not fail, or has not yet."""
    started_ms = facts.stamp_ms("started_ms")
    if started_ms is None or failed.covers(started_ms) or started_ms > whole.end_ms:
        return None
    waits_again = facts.record["state"] in (State.WAITING, State.RELEASED)
    return None if waits_again else Span(started_ms, whole.end_ms)


def _loads(facts: Facts) -> list[Span]:
    """When a model that the request could go to was being loaded."""
    models = {*facts.candidates, facts.record.get("model")}
    began: dict[tuple[str, str], int] = {}
    spans = []
    for at_ms, change in facts.changes:
        key = (change.node, change.model)
        if change.model not in models:
            continue
        if change.state is ModelState.LOADING:
            began[key] = at_ms
        elif key in began or change.load_ms:
            spans.append(Span(began.pop(key, at_ms - (change.load_ms or 0)), at_ms))
    return [*spans, *[Span(at_ms, facts.until_ms) for at_ms in began.values()]]


def _computing(facts: Facts, run_ms: int, loaded_ms: int) -> dict[str, int]:
    """The parts of the run, as the engine measured them; it may also have loaded by itself."""
    timings = (facts.result or {}).get("timings") or {}
    spent: dict[str, int] = {}
    for name in ("load", "prefill", "decode"):
        if name != "load" or not loaded_ms:
            spent[name] = min(round(timings.get(f"{name}_ms") or 0), run_ms - sum(spent.values()))
    rest_ms = run_ms - sum(spent.values())
    return {**spent, "other" if any(spent.values()) else "running": rest_ms}


# --- in words ------------------------------------------------------------------------------------


def _sentence(facts: Facts) -> str:
    record = facts.record
    total_ms = facts.until_ms - facts.admitted_ms
    match record["state"]:
        case State.CANCELLED_EARLY:
            return "cancelled before it was admitted"
        case State.FINAL:
            return _ended(facts, total_ms)
        case State.WAITING:
            said = f"waiting for {duration(total_ms)}, {_waiting_for(facts)}"
        case State.RELEASED:
            said = f"attempt {record['attempt']} failed; the router decides what follows"
        case state:
            said = f"{state} on {record['node']} with {record['model']}"
            said += f", attempt {record['attempt']}: {_sum(facts, total_ms)}"
    left_ms = (facts.stamp_ms("deadline_ms") or facts.now_ms) - facts.now_ms
    return f"{said}; {duration(left_ms)} left" if left_ms > 0 else f"{said}; its deadline is over"


def _ended(facts: Facts, total_ms: int) -> str:
    record, result = facts.record, facts.result or {}
    outcome = record["outcome"]
    if outcome == "completed":
        marks = [mark for mark in ("degraded", "noise") if result.get(mark)]
        attempt = f", attempt {record['attempt']}" if record["attempt"] != "1" else ""
        who = f"{record.get('model')} on {record.get('node')}{attempt}"
        return "; ".join([f"completed: {_sum(facts, total_ms)}", who, *marks])
    reason = record.get("reason", "")
    said = outcome if reason in ("", outcome) else f"{outcome} ({reason})"
    message = f": {result['message']}" if result.get("message") else ""
    return f"{said}{message}" + (f"; {_sum(facts, total_ms)}" if total_ms else "")


def _sum(facts: Facts, total_ms: int) -> str:
    found = parts(facts)
    if not found:
        return duration(total_ms)
    of_seconds = total_ms >= 1000
    said = [
        f"{duration(spent_ms, of_seconds=of_seconds)} {name}" for name, spent_ms in found.items()
    ]
    return f"{duration(total_ms)} = {' + '.join(said)}"


def _waiting_for(facts: Facts) -> str:
    record = facts.record
    what = f"as {record.get('priority')} for task {record.get('task')}"
    if facts.candidates:
        places = [f"{model} ({where})" for model, where in facts.candidates.items()]
        what += f", for a slot of {' or '.join(places)}"
    if record.get("last_reason"):
        what += f"; attempt {record.get('attempt')} failed ({record['last_reason']})"
    return what


def _steps(facts: Facts) -> tuple[Step, ...]:
    record, admitted_ms = facts.record, facts.admitted_ms
    steps = []
    if record.get("outcome") != "rejected" and record["state"] != State.CANCELLED_EARLY:
        said = f"admitted as {record.get('priority')} for task {record.get('task')}"
        steps.append(Step(0, said))
    steps += [Step(ms - admitted_ms, _event(event)) for ms, event in facts.events]
    steps += [
        Step(ms - admitted_ms, _change(change))
        for ms, change in facts.changes
        if admitted_ms <= ms <= (facts.stamp_ms("started_ms") or facts.until_ms)
    ]
    if first_byte_ms := facts.stamp_ms("first_byte_ms"):
        steps.append(Step(first_byte_ms - admitted_ms, "first piece of the answer"))
    if finished_ms := facts.stamp_ms("finished_ms"):
        ended = [str(record.get("outcome")), record.get("reason", "")]
        steps.append(Step(finished_ms - admitted_ms, " ".join(dict.fromkeys(ended)).strip()))
    return tuple(sorted(steps, key=lambda step: step.at_ms))


def _event(event: Event) -> str:
    match event:
        case InferenceRouted():
            return f"attempt {event.attempt} to {event.model} on {event.node}: {event.reason}"
        case InferenceStarted():
            return f"attempt {event.attempt} started on {event.node}"
        case InferenceAttemptFailed():
            message = f": {event.message}" if event.message else ""
            return f"attempt {event.attempt} failed on {event.node}, {event.reason}{message}"
        case _:
            return event.type


def _change(change: ModelStateChanged) -> str:
    took = f" after {duration(change.load_ms)}" if change.load_ms is not None else ""
    why = f" ({change.reason})" if change.reason else ""
    return f"{change.model} is {change.state} on {change.node}{took}{why}"


def duration(spent_ms: int, *, of_seconds: bool = False) -> str:
    """In words; `of_seconds` for a part of what is told in seconds."""
    if spent_ms < (50 if of_seconds else 1000):
        return f"{spent_ms} ms"
    if spent_ms < 600_000:
        return f"{spent_ms / 1000:.1f} s"
    return f"{spent_ms / 60_000:.0f} min"
