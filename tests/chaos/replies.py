"""Reply streams tell one coherent answer to each request, whoever wrote them and however often."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from shared.events.inference import InferenceCompleted
from tests.chaos.cell import KEYS
from tests.chaos.tape import INBOX, Heard, Tape
from tests.journeys.checker import Story

AROUND_S = 3.0
"""What was said so shortly before a leap of the clock may have expired before anybody read it."""


@dataclass(slots=True)
class Told:
    """All that one reply stream says of one request."""

    pieces: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    """By attempt and place: what was sent. Repeating a piece is harmless, changing it is not."""
    ends: list[Heard] = field(default_factory=list)


def violations(tape: Tape, told: dict[str, Story], twice: set[str]) -> Iterator[str]:
    """Of what could be heard: gateways trim what they have read, at times before the tape has."""
    replies = _by_reader(tape)
    for heard in tape.heard[INBOX]:
        request_id = heard.attributes.get("id") or heard.id
        reader, story = heard.attributes.get("replyto", ""), told.get(request_id)
        heard_all = reader and not tape.missed[KEYS.reply(reader)]
        if not heard_all or not story or not story.finals or request_id in twice:
            continue
        about = replies[(reader, request_id)]
        was_refused = replies[(reader, f"{request_id}#{heard.id}")].ends  # a conflict
        if not was_refused and not _expired(tape, heard, story):
            yield from (f"{request_id}: {reader} {what}" for what in _judge(about, story))


def _by_reader(tape: Tape) -> defaultdict[tuple[str, str], Told]:
    replies: defaultdict[tuple[str, str], Told] = defaultdict(Told)
    for stream, entries in tape.heard.items():
        if not stream.startswith(KEYS.reply("")):
            continue
        for heard in entries:
            said = heard.attributes
            about = replies[(stream.removeprefix(KEYS.reply("")), said["request"])]
            if "final" in said:
                about.ends.append(heard)
            else:
                piece = (said["attempt"], int(said["seq"]))
                about.pieces[piece].add(heard.data.get("content") or "")
    return replies


def _judge(about: Told, story: Story) -> Iterator[str]:
    final = story.finals[0]
    if not about.ends:
        yield "never heard of its end"
    for heard in about.ends:
        if not final["type"].endswith(f".{heard.attributes['final']}.v1"):
            yield f"heard of another end: {heard.attributes['final']}"
        elif heard.data.get("content") != final["data"].get("content"):
            yield f"heard another answer: {heard.data.get('content')!r}"
    for attempt in {attempt for attempt, _ in about.pieces}:
        places = sorted(place for each, place in about.pieces if each == attempt)
        if places != list(range(len(places))):
            yield f"heard attempt {attempt} with gaps: {places}"
        said = [about.pieces[(attempt, place)] for place in places]
        if any(len(each) > 1 for each in said):
            yield f"heard attempt {attempt} say one thing, then another: {said}"
        answered = final["type"] == InferenceCompleted.type
        whole = "".join(min(each) for each in said)
        if answered and str(final["data"]["attempt"]) != attempt:
            yield f"heard attempt {attempt}, but {final['data']['attempt']} answered"
        elif answered and whole != final["data"]["content"]:
            yield f"heard {whole!r}, the end says {final['data']['content']!r}"


def _expired(tape: Tape, asked: Heard, story: Story) -> bool:
    return any(
        asked.at_s < leap_s + AROUND_S and story.finals[0]["at_s"] > leap_s - AROUND_S
        for leap_s in tape.leaps_s
    )
