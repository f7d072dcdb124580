"""How a request's time is divided, told from made-up records."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cli.spans import Span, Spans
from cli.why import Facts, duration, parts, tell
from shared.events.inference import (
    FailureReason,
    InferenceAttemptFailed,
    InferenceRouted,
    InferenceStarted,
)
from shared.events.models import ModelState, ModelStateChanged

NOW_MS = 1_000_000


def record(**values: Any) -> dict[str, str]:
    defaults = {
        "state": "final",
        "outcome": "completed",
        "reason": "",
        "priority": "NORMAL",
        "task": "chat",
        "model": "qwen",
        "node": "box",
        "attempt": 1,
        "admitted_ms": NOW_MS,
        "deadline_ms": NOW_MS + 60_000,
    }
    return {name: str(value) for name, value in (defaults | values).items() if value is not None}


def routed(attempt: int) -> InferenceRouted:
    return InferenceRouted(
        request_id="r",
        attempt=attempt,
        model="qwen",
        node="box",
        reason="first choice",
        waited_ms=0,
    )


def started(attempt: int) -> InferenceStarted:
    return InferenceStarted(request_id="r", attempt=attempt, node="box", model="qwen")


def failed(attempt: int) -> InferenceAttemptFailed:
    return InferenceAttemptFailed(
        request_id="r", attempt=attempt, node="box", model="qwen", reason=FailureReason.CRASHED
    )


def change(state: ModelState, load_ms: int | None = None, model: str = "qwen") -> ModelStateChanged:
    return ModelStateChanged(model=model, node="box", state=state, load_ms=load_ms)


def test_a_cold_start_is_loading_then_queue_then_decode() -> None:
    facts = Facts(
        "r",
        record(started_ms=NOW_MS + 2600, finished_ms=NOW_MS + 3100),
        NOW_MS + 9000,
        result={"timings": {"decode_ms": 500.0}},
        changes=[
            (NOW_MS + 100, change(ModelState.LOADING)),
            (NOW_MS + 2500, change(ModelState.READY, load_ms=2400)),
        ],
    )

    told = tell(facts)

    said = "completed: 3.1 s = 2.4 s loading + 0.2 s queue + 0.5 s decode; qwen on box"
    assert told.sentence == said
    assert told.parts == {"loading": 2400, "queue": 200, "decode": 500}
    assert told.total_ms == 3100


def test_a_load_that_began_before_the_request_counts_from_then_on() -> None:
    facts = Facts(
        "r",
        record(started_ms=NOW_MS + 300, finished_ms=NOW_MS + 400),
        NOW_MS,
        changes=[
            (NOW_MS - 5000, change(ModelState.LOADING)),
            (NOW_MS + 250, change(ModelState.READY, load_ms=5250)),
        ],
    )

    assert parts(facts) == {"loading": 250, "queue": 50, "running": 100}
    assert [step.at_ms for step in tell(facts).steps] == [0, 250, 400]


def test_the_load_of_another_model_is_no_part_of_the_wait() -> None:
    facts = Facts(
        "r",
        record(started_ms=NOW_MS + 300, finished_ms=NOW_MS + 400),
        NOW_MS,
        changes=[(NOW_MS + 250, change(ModelState.READY, load_ms=100, model="other"))],
    )

    assert parts(facts) == {"queue": 300, "running": 100}


def test_an_engine_that_loads_by_itself_does_so_within_the_run() -> None:
    facts = Facts(
        "r",
        record(started_ms=NOW_MS + 10, finished_ms=NOW_MS + 1010),
        NOW_MS,
        result={"timings": {"load_ms": 700, "prefill_ms": 50.4, "decode_ms": 200.0}},
    )

    assert parts(facts) == {"queue": 10, "load": 700, "prefill": 50, "decode": 200, "other": 50}


def test_attempts_that_failed_have_a_share_of_their_own() -> None:
    facts = Facts(
        "r",
        record(attempt=2, started_ms=NOW_MS + 900, finished_ms=NOW_MS + 1000),
        NOW_MS,
        events=[
            (NOW_MS + 10, routed(1)),
            (NOW_MS + 20, started(1)),
            (NOW_MS + 520, failed(1)),
            (NOW_MS + 890, routed(2)),
            (NOW_MS + 900, started(2)),
        ],
    )

    told = tell(facts)

    assert told.parts == {"queue": 400, "failed attempts": 500, "running": 100}
    assert told.sentence.endswith("qwen on box, attempt 2")


def test_what_waits_again_does_not_run() -> None:
    facts = Facts(
        "r",
        record(state="waiting", outcome=None, started_ms=NOW_MS + 20, last_reason="crashed"),
        NOW_MS + 700,
        events=[(NOW_MS + 20, started(1)), (NOW_MS + 520, failed(1))],
        candidates={"qwen": "loading on box, 0/2 slots in use"},
    )

    told = tell(facts)

    assert told.parts == {"queue": 200, "failed attempts": 500}
    assert told.sentence == (
        "waiting for 700 ms, as NORMAL for task chat, for a slot of qwen (loading on box, "
        "0/2 slots in use); attempt 1 failed (crashed); 59.3 s left"
    )


def test_a_released_request_waits_for_the_router_s_decision() -> None:
    facts = Facts("r", record(state="released", outcome=None), NOW_MS + 70_000)

    told = tell(facts).sentence

    assert told == "attempt 1 failed; the router decides what follows; its deadline is over"


@given(st.integers(0, 5_000_000), st.booleans())
def test_every_duration_has_a_number_and_a_unit(spent_ms: int, of_seconds: bool) -> None:
    number, unit = duration(spent_ms, of_seconds=of_seconds).split()

    assert float(number) >= 0
    assert unit in ("ms", "s", "min")


spans = st.lists(
    st.tuples(st.integers(0, 100), st.integers(0, 100)).map(lambda pair: Span(*sorted(pair)))
)


@given(spans, spans)
def test_what_two_share_and_what_only_one_covers_make_up_the_whole(
    ours: list[Span], theirs: list[Span]
) -> None:
    def moments(of: Spans) -> set[int]:
        return {moment for moment in range(101) if of.covers(moment)}

    mine, others = Spans(ours), Spans(theirs)

    assert moments(mine.within(others)) == moments(mine) & moments(others)
    assert moments(mine.without(others)) == moments(mine) - moments(others)
    assert mine.length_ms == len(moments(mine))
    assert mine.within(others).length_ms + mine.without(others).length_ms == mine.length_ms
