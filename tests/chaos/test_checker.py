"""The checker can fail: each lie that a tape could tell is found."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.bus.ids import final_id
from tests.chaos.cell import KEYS
from tests.chaos.checker import Evidence, violations
from tests.chaos.load import Answer
from tests.chaos.plan import Way, plan
from tests.chaos.tape import INBOX, Heard, Tape
from tests.chaos.trail import Trail

ASKED = "r1"
WORDS = "77.1:1/3 77.1:2/3 77.1:3/3"
SECOND_END = final_id(ASKED, "9-0")
HALF = "77.1:1/3 77.1:2/3"


class Telling:
    """A tape that tells the story of one request, which a test may twist."""

    def __init__(self) -> None:
        self.tape = Tape("")
        self.evidence = Evidence(self.tape, promised={ASKED}, trace=[(1, "77.1")])
        self.say(INBOX, id=ASKED, replyto="reader", replymode="chunks", data={"number": 1})
        self.attempt("routed", 1)
        self.attempt("started", 1)
        self.reply("0", HALF)
        self.reply("1", " 77.1:3/3")
        self.complete()
        self.say(KEYS.reply("reader"), request=ASKED, final="completed", data={"content": WORDS})
        self.keep("requests", event_id=final_id(ASKED), outcome="completed", attempts=1)
        self.keep("attempts", attempt=1, outcome="completed")

    def say(self, stream: str, data: dict[str, Any], **attributes: str) -> None:
        self.tape.reads += 1
        number = self.tape.reads
        if stream == INBOX:
            data = {"digest": "d", **data}
        heard = Heard(f"{number}-0", number, float(number), attributes, data)
        self.tape.heard[stream].append(heard)
        if stream == INBOX:
            self.tape.accepted.setdefault(attributes["id"], heard)

    def attempt(self, what: str, number: int, **data: Any) -> None:
        data = {"attempt": number, "node": "n1", "model": "echo", **data}
        event_type = f"inference.{what}.v1"
        self.say(KEYS.stream_of(event_type), data, subject=ASKED, type=event_type)

    def complete(self, attempt: int = 1, content: str = WORDS) -> None:
        data = {"attempt": attempt, "node": "n1", "engine": "openai", "content": content}
        self.end("completed", data)

    def end(self, outcome: str, data: dict[str, Any] | None = None, end_id: str = "") -> None:
        event_type = f"inference.{outcome}.v1"
        end_id = end_id or final_id(ASKED)
        stream = KEYS.stream_of(event_type)
        self.say(stream, data or {}, subject=ASKED, id=end_id, type=event_type)

    def reply(self, seq: str, content: str, attempt: str = "1") -> None:
        stream = KEYS.reply("reader")
        self.say(stream, {"content": content}, request=ASKED, seq=seq, attempt=attempt)

    def forget(self, event_type: str) -> None:
        self.tape.heard.pop(KEYS.stream_of(event_type), None)

    def keep(self, table: str, **row: Any) -> None:
        """Write a row of the trail."""
        rows = {"requests": self.evidence.trail.requests, "attempts": self.evidence.trail.attempts}
        rows[table] = (*rows[table], {"request_id": ASKED, **row})
        self.evidence.trail = Trail(**rows)

    def lose(self, table: str) -> None:
        self.evidence.trail = replace(self.evidence.trail, **{table: ()})

    def hear(self, text: str, *, whole: bool) -> None:
        ask = next(ask for ask in plan(1, 50).asks if ask.way is Way.PLAIN)
        self.evidence.answers.append(Answer(ask, ASKED, 200, text, whole))


def test_an_honest_story_is_believed() -> None:
    told = Telling()
    told.hear(WORDS, whole=True)

    assert violations(told.evidence) == []


def test_who_asks_for_other_things_under_a_known_id_hears_of_that_and_of_no_other_end() -> None:
    told = Telling()
    told.say(INBOX, {"number": 1, "digest": "other"}, id=ASKED, replyto="other")
    refused = f"{ASKED}#{told.tape.reads}-0"
    event_type = "inference.rejected.v1"
    about = {"subject": refused, "id": final_id(refused), "type": event_type}
    told.say(KEYS.stream_of(event_type), {}, **about)
    told.say(KEYS.reply("other"), {}, request=refused, final="rejected")
    row = {"request_id": refused, "event_id": final_id(refused), "outcome": "rejected"}
    told.keep("requests", **row, attempts=0)

    assert violations(told.evidence) == []


def reborn() -> Telling:
    """What is asked again after a leap of the clock is a request of its own, with its own end."""
    told = Telling()
    told.tape.leaps_s.append(told.tape.reads + 0.5)
    told.say(INBOX, id=ASKED, data={"number": 1})
    told.attempt("routed", 1)
    told.attempt("started", 1)
    told.evidence.trace.append((1, "77.2"))
    data = {
        "attempt": 1,
        "node": "n1",
        "engine": "openai",
        "content": WORDS.replace("77.1", "77.2"),
    }
    told.end("completed", data, end_id=SECOND_END)
    told.keep("requests", event_id=SECOND_END, outcome="completed", attempts=1)
    return told


def test_a_request_that_is_asked_again_after_a_leap_has_two_ends_and_two_rows() -> None:
    assert violations(reborn().evidence) == []


def test_of_two_lives_both_are_in_the_trail() -> None:
    told = reborn()
    told.lose("requests")
    told.keep("requests", event_id=SECOND_END, outcome="completed", attempts=1)

    assert "1 rows in the trail" in "\n".join(violations(told.evidence))


LIES: dict[str, tuple[Callable[[Telling], object], str]] = {
    "two ends": (lambda told: told.end("cancelled"), "2 ends"),
    "no end": (lambda told: told.forget("inference.completed.v1"), "0 ends"),
    "an end that is named otherwise": (
        lambda told: (told.forget("inference.completed.v1"), told.end("failed", end_id="x")),
        "is not the one that names it",
    ),
    "an accepted request of which nothing is said": (
        lambda told: told.say(INBOX, {"number": 2}, id="r2"),
        "r2: accepted, but nothing was said",
    ),
    "a promise that nobody keeps": (
        lambda told: told.evidence.promised.add("r3"),
        "r3: promised",
    ),
    "an attempt started twice": (lambda told: told.attempt("started", 1), "started twice"),
    "an attempt that nobody routed": (lambda told: told.attempt("started", 2), "nobody routed"),
    "an attempt after the end": (lambda told: told.attempt("routed", 2), "after its end"),
    "too many attempts": (
        lambda told: [told.attempt("attempt_failed", 1, charge=1) for _ in range(4)],
        "4 attempts were charged",
    ),
    "an execution too many": (
        lambda told: told.evidence.trace.append((1, "77.2")),
        "executed 2 times in 1 attempts",
    ),
    "an answer that is not whole": (
        lambda told: (told.forget("inference.completed.v1"), told.complete(content=HALF)),
        "its answer is not whole",
    ),
    "another request's answer": (
        lambda told: told.evidence.trace.__setitem__(0, (2, "77.1")),
        "which was another's",
    ),
    "a piece that changes": (lambda told: told.reply("1", " other"), "one thing, then another"),
    "a piece that is missing": (lambda told: told.reply("3", " more"), "with gaps"),
    "pieces of two attempts": (lambda told: told.reply("0", "x", "2"), "heard attempt 2, but 1"),
    "a reader who never hears the end": (
        lambda told: told.tape.heard[KEYS.reply("reader")].pop(),
        "never heard of its end",
    ),
    "a conflict that is not refused": (
        lambda told: told.say(INBOX, {"number": 1, "digest": "other"}, id=ASKED),
        "0 conflicts in 2 entries",
    ),
    "an end that is not in the trail": (
        lambda told: told.lose("requests"),
        "0 rows in the trail",
    ),
    "an end that is in the trail twice": (
        lambda told: told.keep("requests", event_id=final_id(ASKED), outcome="completed"),
        "2 rows in the trail",
    ),
    "another end in the trail": (
        lambda told: (
            told.lose("requests"),
            told.keep("requests", event_id=final_id(ASKED), outcome="failed"),
        ),
        "the trail says failed",
    ),
    "an attempt that is not in the trail": (
        lambda told: told.lose("attempts"),
        "the attempt that answered is not in the trail",
    ),
    "a client with another answer": (
        lambda told: told.hear("77.9:1/1", whole=True),
        "a client was told",
    ),
    "a client with a mixture": (
        lambda told: told.hear("77.1:1/3 77.9:2/3", whole=False),
        "read a mixture",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found(lie: str) -> None:
    told = Telling()
    twist, finding = LIES[lie]

    twist(told)

    assert finding in "\n".join(violations(told.evidence))
