"""No attempt is executed twice: as the streams tell it, and as the scripted engines saw it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from shared.events.inference import InferenceCompleted
from tests.chaos.cell import KEYS
from tests.chaos.engine import Execution, execution, voices, whole_answer
from tests.chaos.plan import REAL
from tests.chaos.tape import Tape
from tests.journeys.checker import Entry, Story

SCRIPTED = "openai"
"""What calls itself the engine of an answer of a scripted one."""

Attempt = tuple[str, int]
"""A request's id, and the attempt's number."""

Place = tuple[int | None, str, str]
"""The number of a request, and the node and the model of an attempt at it."""


def violations(
    tape: Tape, told: dict[str, Story], twice: set[str], trace: Sequence[Execution]
) -> Iterator[str]:
    """All is judged for each attempt, which a request told twice has in each of its lives."""
    spoken = _spoken(tape, told)
    begun = Counter(
        (request, entry["data"]["attempt"])
        for request, story in told.items()
        for entry in story.started
    )
    for attempt, times in begun.items():
        if times > _lives(attempt, twice):
            yield f"{attempt[0]}: attempt {attempt[1]} was started {times} times"
    for attempt, names in spoken.items():
        if len(names) > _lives(attempt, twice):
            yield f"{attempt[0]}: attempt {attempt[1]} was executed twice: {sorted(names)}"
    yield from _mistaken(tape, told, spoken, trace)
    yield from _unasked(tape, told, trace)
    for request, story in told.items():
        for entry in _answers(story):
            if not whole_answer(entry["data"]["content"]):
                yield f"{request}: its answer is not whole: {entry['data']['content']!r}"


def _lives(attempt: Attempt, twice: set[str]) -> int:
    return 2 if attempt[0] in twice else 1


def _spoken(tape: Tape, told: dict[str, Story]) -> dict[Attempt, set[str]]:
    """The executions whose words each attempt has said, in its pieces and in its answer."""
    spoken: defaultdict[Attempt, set[str]] = defaultdict(set)
    scripted = {
        (request, entry["data"]["attempt"])
        for request, story in told.items()
        for entry in _scripted(story)
    }
    for stream, entries in tape.heard.items():
        for heard in entries if stream.startswith(KEYS.reply("")) else ():
            attempt = (heard.attributes["request"], int(heard.attributes.get("attempt", 0)))
            if attempt in scripted and "final" not in heard.attributes:
                spoken[attempt] |= voices(heard.data.get("content") or "")
    for request, story in told.items():
        for entry in _answers(story):
            spoken[(request, entry["data"]["attempt"])].add(execution(entry["data"]["content"]))
    return spoken


def _mistaken(
    tape: Tape, told: dict[str, Story], spoken: dict[Attempt, set[str]], trace: Sequence[Execution]
) -> Iterator[str]:
    """An execution speaks for one attempt: one for which it may have been."""
    places = {each.name: (each.number, each.node, each.model) for each in trace}
    right: defaultdict[Attempt, set[Place]] = defaultdict(set)
    for request, story in told.items():
        for entry in _scripted(story):
            right[(request, entry["data"]["attempt"])].add(_place(tape, request, entry))
    used = Counter(name for names in spoken.values() for name in names)
    for attempt, names in spoken.items():
        for name in names:
            if places.get(name) not in right[attempt] or used[name] > 1:
                yield (
                    f"{attempt[0]}: attempt {attempt[1]} speaks by execution {name},"
                    " which was another's"
                )


def _unasked(tape: Tape, told: dict[str, Story], trace: Sequence[Execution]) -> Iterator[str]:
    """Each execution belongs to an attempt that had been started for it before, on its node."""
    started_s: defaultdict[Place, list[float]] = defaultdict(list)
    for request, story in told.items():
        for entry in _scripted(story):
            started_s[_place(tape, request, entry)].append(entry["since_s"])
    executed_s: defaultdict[Place, list[float]] = defaultdict(list)
    for each in trace:
        executed_s[(each.number, each.node, each.model)].append(each.at_s)
    for place, times_s in executed_s.items():
        for executions, at_s in enumerate(sorted(times_s), 1):
            attempts = sum(since_s <= at_s for since_s in started_s[place])
            if executions > attempts:
                number, node, model = place
                yield (
                    f"request number {number}: executed {executions} times in {attempts} attempts"
                    f" by {model} on {node}"
                )


def _place(tape: Tape, request: str, entry: Entry) -> Place:
    asked = tape.accepted.get(request)
    number = asked.data["number"] if asked else None
    return number, entry["data"]["node"], entry["data"]["model"]


def _scripted(story: Story) -> list[Entry]:
    """The attempts that went to scripted engines; the others leave no trace."""
    return [entry for entry in story.started if entry["data"]["model"] != REAL]


def _answers(story: Story) -> list[Entry]:
    completed = [entry for entry in story.finals if entry["type"] == InferenceCompleted.type]
    return [entry for entry in completed if entry["data"]["engine"] == SCRIPTED]
