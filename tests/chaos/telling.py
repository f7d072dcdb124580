"""A tape that was never recorded, for the checker's own tests."""

from dataclasses import replace
from typing import Any

from shared.bus.ids import final_id
from tests.chaos.cell import KEYS
from tests.chaos.checker import Evidence
from tests.chaos.engine import Execution
from tests.chaos.load import Answer
from tests.chaos.plan import Way, plan
from tests.chaos.tape import INBOX, Heard, Tape
from tests.chaos.trail import Trail

ASKED = "r1"
WORDS = "77.1:1/3 77.1:2/3 77.1:3/3"
SECOND = "88.1:1/3 88.1:2/3 88.1:3/3"
HALF = "77.1:1/3 77.1:2/3"


class Telling:
    """A tape that tells the story of one request, which a test may twist."""

    def __init__(self) -> None:
        self.tape = Tape("")
        self.evidence = Evidence(self.tape, promised={ASKED})
        self.say(INBOX, id=ASKED, replyto="reader", replymode="chunks", data={"number": 1})
        self.attempt("routed", 1)
        self.attempt("started", 1)
        self.execute("77.1")
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
        heard = Heard(f"{number}-0", number, float(number), number - 1.0, attributes, data)
        self.tape.heard[stream].append(heard)
        if stream == INBOX:
            self.tape.accepted.setdefault(attributes["id"], heard)

    def attempt(self, what: str, number: int, **data: Any) -> None:
        data = {"attempt": number, "node": "n1", "model": "echo", **data}
        event_type = f"inference.{what}.v1"
        self.say(KEYS.stream_of(event_type), data, subject=ASKED, type=event_type)

    def execute(self, name: str, node: str = "n1", number: int = 1) -> None:
        at_s = self.tape.reads - 0.5
        self.evidence.trace.append(Execution(number, name, node, "echo", at_s))

    def complete(self, attempt: int = 1, content: str = WORDS, node: str = "n1") -> None:
        data = {"attempt": attempt, "node": node, "engine": "openai", "content": content}
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
