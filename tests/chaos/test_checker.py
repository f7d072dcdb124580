"""The checker can fail: each lie that a tape could tell is found."""

from collections.abc import Callable

import pytest

from shared.bus.ids import final_id
from tests.chaos.cell import KEYS
from tests.chaos.checker import violations
from tests.chaos.engine import Execution
from tests.chaos.tape import FINALS, INBOX
from tests.chaos.telling import ASKED, HALF, SECOND, WORDS, Telling

SECOND_END = final_id(ASKED, "9-0")


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


def told_with_a_retry(node: str = "n2") -> Telling:
    """The first attempt breaks off on n1, the second answers on `node`."""
    told = Telling()
    for stream in (*FINALS, KEYS.reply("reader")):
        told.tape.heard.pop(stream, None)
    told.lose("attempts")
    told.attempt("attempt_failed", 1)
    told.keep("attempts", attempt=1, outcome="crashed")
    told.attempt("routed", 2, node=node)
    told.attempt("started", 2, node=node)
    told.execute("88.1", node)
    told.reply("0", SECOND, "2")
    told.complete(2, SECOND, node)
    told.say(KEYS.reply("reader"), request=ASKED, final="completed", data={"content": SECOND})
    told.keep("attempts", attempt=2, outcome="completed")
    return told


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_a_retry_is_no_attempt_that_is_executed_twice(node: str) -> None:
    assert violations(told_with_a_retry(node).evidence) == []


TWICE: dict[str, tuple[Callable[[Telling], object], str]] = {
    "started again": (
        lambda told: told.attempt("started", 1),
        "attempt 1 was started 2 times",
    ),
    "started again elsewhere": (
        lambda told: told.attempt("started", 1, node="n2"),
        "attempt 1 was started 2 times",
    ),
    "spoken by two executions": (
        lambda told: told.reply("1", " 88.2:2/3", "2"),
        "attempt 2 was executed twice: ['88.1', '88.2']",
    ),
    "executed again on its node": (
        lambda told: told.execute("77.2"),
        "executed 2 times in 1 attempts by echo on n1",
    ),
    "executed on a node that was not given it": (
        lambda told: told.execute("99.1", "n3"),
        "executed 1 times in 0 attempts by echo on n3",
    ),
}


@pytest.mark.parametrize("how", TWICE)
def test_an_attempt_that_is_executed_twice_is_found_though_its_request_was_retried(
    how: str,
) -> None:
    told = told_with_a_retry()
    twist, finding = TWICE[how]

    twist(told)

    assert finding in "\n".join(violations(told.evidence))


def test_an_execution_too_many_is_not_excused_by_an_attempt_that_was_started_after_it() -> None:
    told = Telling()
    told.execute("77.2")
    told.attempt("started", 2)

    assert "executed 2 times in 1 attempts" in "\n".join(violations(told.evidence))


def reborn() -> Telling:
    """What is asked again after a leap of the clock is a request of its own, with its own end."""
    told = Telling()
    told.tape.leaps_s.append(told.tape.reads + 0.5)
    told.say(INBOX, id=ASKED, data={"number": 1})
    told.attempt("routed", 1)
    told.attempt("started", 1)
    told.execute("77.2")
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
    "an execution before its attempt": (
        lambda told: told.evidence.trace.append(Execution(1, "77.2", "n1", "echo", 0.5)),
        "executed 1 times in 0 attempts",
    ),
    "an answer that is not whole": (
        lambda told: (told.forget("inference.completed.v1"), told.complete(content=HALF)),
        "its answer is not whole",
    ),
    "another request's answer": (
        lambda told: (told.evidence.trace.clear(), told.execute("77.1", number=2)),
        "which was another's",
    ),
    "a piece that changes": (lambda told: told.reply("1", " other"), "one thing, then another"),
    "a piece that is missing": (lambda told: told.reply("3", " more"), "with gaps"),
    "pieces of two attempts": (lambda told: told.reply("0", "x", "2"), "heard attempt 2, but 1"),
    "a piece after the end": (
        lambda told: told.reply("1", " 77.1:3/3"),
        "heard 1 pieces after the end",
    ),
    "an end too many": (
        lambda told: told.tape.heard[KEYS.reply("reader")].append(
            told.tape.heard[KEYS.reply("reader")][-1]
        ),
        "asked 1 times and heard of 2 ends",
    ),
    "an answer in pieces of which none comes": (
        lambda told: told.tape.heard[KEYS.reply("reader")].__delitem__(slice(2)),
        "heard '', the end says",
    ),
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
