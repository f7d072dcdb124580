"""What the tape has lost of reply streams is no finding, and not counted as whole."""

from tests.chaos.cell import KEYS
from tests.chaos.checker import stories, violations
from tests.chaos.replies import Share, share
from tests.chaos.tape import Gap
from tests.chaos.telling import Telling


def test_an_answer_that_was_heard_whole_counts_though_the_tape_has_a_gap() -> None:
    told = Telling()
    told.tape.gaps = [Gap("", 0, told.tape.reads)]

    assert _share(told) == Share(whole=1, all=1)


def test_a_run_needs_eight_whole_answers_of_ten() -> None:
    assert Share(whole=8, all=10).is_enough
    assert not Share(whole=7, all=10).is_enough


def test_what_the_tape_has_lost_is_no_omission_and_the_request_is_not_counted_as_whole() -> None:
    told = Telling()
    stream = KEYS.reply("reader")
    lost = told.tape.heard[stream].pop(0)
    told.tape.gaps = [Gap(stream, lost.at - 1, lost.at), Gap(KEYS.reply("other"), 0, 1)]

    assert violations(told.evidence) == []
    assert _share(told) == Share(whole=0, all=1)


def test_what_was_said_before_and_after_a_gap_of_the_tape_is_judged() -> None:
    told = Telling()
    told.tape.gaps = [Gap("", 0, 0), Gap("", told.tape.reads, told.tape.reads + 3)]
    told.tape.heard[KEYS.reply("reader")].pop(0)

    assert "with gaps: [1]" in "\n".join(violations(told.evidence))


def test_a_contradiction_is_found_though_the_tape_has_gaps() -> None:
    told = Telling()
    told.tape.gaps = [Gap("", 0, told.tape.reads)]
    told.reply("1", " other")

    assert "one thing, then another" in "\n".join(violations(told.evidence))


def _share(told: Telling) -> Share:
    return share(told.tape, stories(told.tape))
