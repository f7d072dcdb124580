"""What the audit trail knows of a request, in words. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

Row = Mapping[str, Any]
"""A row of the trail as JSON: what is not known is absent, times are ISO 8601."""

Use = tuple[Row, Sequence[Row]]
"""A request and its attempts, where an id may have named several."""

HEADINGS = ("ended", "id", "outcome", "task", "model", "node", "principal", "tokens", "ms")

STAGES = (
    ("received_at", "received"),
    ("admitted_at", "admitted"),
    ("finished_at", "ended"),
)
STAGES_OF_AN_ATTEMPT = (
    ("dispatched_at", "given to {node}"),
    ("started_at", "started there"),
    ("first_byte_at", "first piece of the answer sent"),
    ("ended_at", "{outcome}"),
)
PARTS = (
    ("queue_ms", "waiting"),
    ("load_ms", "loading"),
    ("prefill_ms", "prefill"),
    ("decode_ms", "decode"),
)
SHOWN = (
    *("principal", "tenant", "dataclass", "task", "priority", "operation", "asked_model", "model"),
    *("model_digest", "engine", "node", "finish_reason", "input_bytes", "prompt_tokens"),
    *("completion_tokens", "cached_tokens", "cold", "degraded", "noise", "fingerprint"),
    *("output_sha256", "traceparent"),
)
"""Facts of a request in the order in which they are shown."""


def cells(request: Row) -> tuple[str, ...]:
    """A line of a table under `HEADINGS`."""
    tokens = [request.get(name) for name in ("prompt_tokens", "completion_tokens")]
    outcome = request["outcome"]
    reason = request.get("reason")
    return (
        _moment(request["finished_at"]).isoformat(sep=" ", timespec="seconds"),
        request["request_id"],
        f"{outcome} ({reason})" if reason else outcome,
        *(request.get(name, "") for name in ("task", "model", "node", "principal")),
        "+".join(str(count) for count in tokens if count is not None),
        str(total_ms(request)),
    )


def total_ms(request: Row) -> int:
    """From the moment when the store took it to its end; where that is unknown, 0."""
    began = request.get("received_at") or request.get("admitted_at") or request["finished_at"]
    return _ms(began, request["finished_at"])


def tell(request: Row, attempts: Sequence[Row]) -> Iterator[str]:
    """The lines of `audit show`."""
    reason, message = request.get("reason"), request.get("message")
    why = f" ({reason}{f': {message}' if message else ''})" if reason or message else ""
    yield f"{request['request_id']}: {request['outcome']}{why} after {total_ms(request)} ms"
    if went := _parts(request):
        yield f"Where the time went: {went}"
    yield ""
    yield from _steps(request, attempts)
    yield ""
    for name in SHOWN:
        if name in request and request[name] is not False:
            yield f"{name}: {request[name]}"


def uses_of(requests: Sequence[Row], attempts: Sequence[Row]) -> list[Use]:
    """Each request of one id with its own attempts, the one that ended last first."""
    by_entry = defaultdict[str, list[Row]](list)
    for attempt in attempts:
        by_entry[attempt.get("inbox_entry", "")].append(attempt)
    newest_first = sorted(requests, key=lambda each: _moment(each["finished_at"]), reverse=True)
    return [(request, by_entry[request.get("inbox_entry", "")]) for request in newest_first]


def tell_uses(uses: Sequence[Use]) -> Iterator[str]:
    """The lines of `audit show` where an id was used again, after what it named had been over."""
    yield f"{len(uses)} requests had this id, one after the other; the latest comes first."
    for request, attempts in uses:
        yield ""
        yield f"--- ended {_moment(request['finished_at']).isoformat(sep=' ', timespec='seconds')}"
        yield from tell(request, attempts)


def _parts(request: Row) -> str:
    known = [(what, request[name]) for name, what in PARTS if request.get(name)]
    return ", ".join(f"{what} {spent_ms:.0f} ms" for what, spent_ms in known)


def _steps(request: Row, attempts: Sequence[Row]) -> Iterator[str]:
    steps = [(request[name], what) for name, what in STAGES if name in request]
    for attempt in attempts:
        steps += [
            (attempt[name], f"attempt {attempt['attempt']}: {_words(attempt, what)}")
            for name, what in STAGES_OF_AN_ATTEMPT
            if name in attempt
        ]
    began = min(moment for moment, _ in steps)
    for moment, what in sorted(steps, key=lambda step: step[0]):
        yield f"{_ms(began, moment) / 1000:>10.3f} s  {what}"


def _words(attempt: Row, what: str) -> str:
    said = what.format(node=attempt.get("node", "?"), outcome=attempt["outcome"])
    if what == "{outcome}" and "reason" in attempt:
        message = attempt.get("message")
        said += f" ({attempt['reason']}{f': {message}' if message else ''})"
    if what.startswith("given") and "route" in attempt:
        said += f" for {attempt.get('model', '?')} ({attempt['route']})"
    return said


def _ms(began: str, ended: str) -> int:
    return round((_moment(ended) - _moment(began)).total_seconds() * 1000)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
