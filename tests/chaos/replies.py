"""Reply streams tell one coherent answer to each request, whoever wrote them and however often.

What was heard is held against itself and against the end, and nothing may be missing. Two kinds of
replies may be gone before the tape reads them: those that their gateway has read and trimmed, which
it does every two seconds, and those that nobody has read when the store's clock leaps: they expire.
Of both the tape knows between which reads it was; how many requests were heard whole in spite of it
is part of the verdict. Nothing else may be lost: producers trim nothing, and a store that is killed
has written whatever it took.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from shared.events.inference import InferenceCompleted
from tests.chaos.cell import KEYS
from tests.chaos.tape import INBOX, Heard, Tape
from tests.journeys.checker import Story

LEAST_SHARE = 0.8
"""Of the requests with a reply stream, that must have been heard to be answered whole."""


@dataclass(slots=True)
class Conversation:
    """All that one reply stream says of one request."""

    asked: list[Heard] = field(default_factory=list)
    """The entries by which its reader asked, less those that were refused as conflicts."""
    pieces: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    """By attempt and place: what was sent. Repeating a piece is harmless, changing it is not."""
    ends: list[Heard] = field(default_factory=list)
    late: int = 0
    """Pieces after the end."""
    streamed: bool = False
    """Whether its reader is to hear the answer in pieces."""


@dataclass(slots=True)
class Share:
    """How many requests named a reply stream, and how many of them had a whole answer there."""

    whole: int = 0
    all: int = 0

    def __str__(self) -> str:
        return f"{self.whole / max(1, self.all):.1%}"

    @property
    def is_enough(self) -> bool:
        return self.whole >= self.all * LEAST_SHARE


def violations(tape: Tape, told: dict[str, Story], twice: set[str]) -> Iterator[str]:
    for (reader, request), about in _conversations(tape).items():
        story = told.get(request)
        if not story or not story.finals or request in twice:
            continue
        found = [*_contradictions(about, story)]
        if not _is_lossy(tape, reader, about, story):
            found += _omissions(about, story)
        yield from (f"{request}: {reader} {what}" for what in found)


def share(tape: Tape, told: dict[str, Story]) -> Share:
    share = Share()
    for (_, request), about in _conversations(tape).items():
        story = told.get(request)
        share.all += 1
        if story and story.finals:
            share.whole += not [*_contradictions(about, story), *_omissions(about, story)]
    return share


def _conversations(tape: Tape) -> dict[tuple[str, str], Conversation]:
    """By reader and request. Who asked under another's id, and was refused, has none."""
    found: defaultdict[tuple[str, str], Conversation] = defaultdict(Conversation)
    for stream, entries in tape.heard.items():
        for heard in entries if stream.startswith(KEYS.reply("")) else ():
            reader = stream.removeprefix(KEYS.reply(""))
            _take_in(found[(reader, heard.attributes["request"])], heard)
    for heard in tape.heard[INBOX]:
        request = heard.attributes.get("id") or heard.id
        reader = heard.attributes.get("replyto", "")
        if reader and not found[(reader, f"{request}#{heard.id}")].ends:
            about = found[(reader, request)]
            about.asked.append(heard)
            asks_first = tape.accepted[request] is heard
            about.streamed |= asks_first and heard.attributes.get("replymode") == "chunks"
    return {key: about for key, about in found.items() if about.asked}


def _take_in(about: Conversation, heard: Heard) -> None:
    said = heard.attributes
    if "final" in said:
        about.ends.append(heard)
    else:
        about.late += bool(about.ends)
        about.pieces[(said["attempt"], int(said["seq"]))].add(heard.data.get("content") or "")


def _is_lossy(tape: Tape, reader: str, about: Conversation, story: Story) -> bool:
    """Whether something that was said in it may have fallen into a gap of the tape."""
    asked, ended = about.asked[0].at, story.finals[0]["at"]
    joined_late = asked >= ended
    first = asked if about.streamed or joined_late else ended
    last = float("inf") if joined_late else ended
    return any(
        gap.after < last and first <= gap.until
        for gap in tape.gaps
        if gap.stream in ("", KEYS.reply(reader))
    )


def _contradictions(about: Conversation, story: Story) -> Iterator[str]:
    final = story.finals[0]
    for heard in about.ends:
        if not final["type"].endswith(f".{heard.attributes['final']}.v1"):
            yield f"heard of another end: {heard.attributes['final']}"
        elif heard.data.get("content") != final["data"].get("content"):
            yield f"heard another answer: {heard.data.get('content')!r}"
    if len(about.ends) > len(about.asked):
        yield f"asked {len(about.asked)} times and heard of {len(about.ends)} ends"
    if about.late:
        yield f"heard {about.late} pieces after the end"
    for (attempt, _), said in about.pieces.items():
        if len(said) > 1:
            yield f"heard attempt {attempt} say one thing, then another: {sorted(said)}"
    if final["type"] == InferenceCompleted.type:
        answered = str(final["data"]["attempt"])
        for attempt in {attempt for attempt, _ in about.pieces} - {answered}:
            yield f"heard attempt {attempt}, but {answered} answered"


def _omissions(about: Conversation, story: Story) -> Iterator[str]:
    final = story.finals[0]
    if not about.ends:
        yield "never heard of its end"
    for attempt in {attempt for attempt, _ in about.pieces}:
        places = sorted(place for each, place in about.pieces if each == attempt)
        if places != list(range(len(places))):
            yield f"heard attempt {attempt} with gaps: {places}"
    if about.streamed and final["type"] == InferenceCompleted.type:
        whole = "".join(min(about.pieces[each]) for each in sorted(about.pieces))
        if whole != final["data"]["content"]:
            yield f"heard {whole!r}, the end says {final['data']['content']!r}"
