"""Who is let in, on which terms, and what the others are told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.policy.admission import Admitted, Load, admit
from services.router.policy.refusal import Refused
from services.router.policy.request import RequestAttributes
from services.router.policy.view import Fleet
from shared.config.models import Config
from shared.events.base import Operation, Priority
from shared.events.inference import FailureReason
from tests.fakes.world import fleet_of, law, local, node

EMBEDDING_ONLY = (Operation.EMBEDDING,)
IDLE = Load(dict.fromkeys(Priority, 0), None, 0.1)
CONFIG = Config.model_validate(
    {
        "models": {
            "qwen": {"engine": "ollama", "context_tokens": 4096},
            "mixtral": {"engine": "ollama", "context_tokens": 65536},
        },
        "tasks": {
            "assess": {"chain": ["qwen", "any"], "priority": "HIGH"},
            "backup": {"chain": ["mixtral", "qwen", "heuristic:tickets"]},
            "tickets": {"chain": ["mixtral", "heuristic:tickets"]},
            "strange": {"chain": ["heuristic:nobody", "tiny", "typo"]},
        },
    }
)
FLEET = fleet_of(
    node("a", [local("qwen", context_tokens=4096), local("llama", need_mib=9000)], ["phi"]),
    node("b", [local("bge", operations=EMBEDDING_ONLY), "tiny", "heuristic:tickets"]),
)


def ask(fleet: Fleet = FLEET, **attributes: Any) -> Admitted | Refused:
    return admit(RequestAttributes(**attributes), CONFIG, fleet, IDLE)


def admitted(fleet: Fleet = FLEET, **attributes: Any) -> Admitted:
    answer = ask(fleet, **attributes)
    assert isinstance(answer, Admitted), answer
    return answer


def refused(fleet: Fleet = FLEET, **attributes: Any) -> Refused:
    answer = ask(fleet, **attributes)
    assert isinstance(answer, Refused), answer
    return answer


@pytest.mark.parametrize(
    ("attributes", "task", "candidates"),
    [
        pytest.param({}, "chat", "phi llama qwen tiny", id="nothing named"),
        pytest.param({"model": "auto"}, "chat", "phi llama qwen tiny", id="auto"),
        pytest.param({"task": "assess"}, "assess", "qwen phi llama", id="a task"),
        pytest.param({"model": "task/assess"}, "assess", "qwen phi llama", id="a task as model"),
        pytest.param(
            {"model": "task/assess", "task": "assess"}, "assess", "qwen phi llama", id="both alike"
        ),
        pytest.param({"model": "llama"}, "chat", "llama", id="a model"),
        pytest.param({"model": "llama", "task": "assess"}, "assess", "llama", id="model and task"),
        pytest.param({"model": "tiny"}, "chat", "tiny", id="noise, by its name"),
        pytest.param(
            {"operation": Operation.COMPLETION},
            "complete",
            "phi llama qwen tiny",
            id="completion",
        ),
        pytest.param({"operation": Operation.EMBEDDING}, "embed", "bge", id="embedding"),
        pytest.param(
            {"task": "backup"},
            "backup",
            "mixtral qwen heuristic:tickets",
            id="a configured model that is away stays",
        ),
        pytest.param(
            {"task": "tickets"},
            "tickets",
            "heuristic:tickets",
            id="but not before what could only stand in",
        ),
        pytest.param({"task": "strange"}, "strange", "tiny", id="what nobody has is left out"),
    ],
)
def test_candidates(attributes: dict[str, Any], task: str, candidates: str) -> None:
    answer = admitted(**attributes)

    assert answer.task == task
    assert answer.candidates == tuple(candidates.split())


@pytest.mark.parametrize(
    ("attributes", "reason", "says"),
    [
        pytest.param({"model": "gpt"}, "unknown_model", "'gpt'", id="unknown model"),
        pytest.param({"model": "any"}, "unknown_model", "'auto'", id="any is no model"),
        pytest.param({"model": "heuristic:x"}, "unknown_model", "heuristic:x", id="unknown rules"),
        pytest.param({"task": "nope"}, "unknown_task", "choose one of", id="unknown task"),
        pytest.param({"model": "task/nope"}, "unknown_task", "'nope'", id="unknown, as model"),
        pytest.param(
            {"model": "task/chat", "task": "assess"}, "invalid", "only one", id="two tasks"
        ),
        pytest.param(
            {"model": "bge"}, "invalid", "bge cannot do chat", id="an operation it has not"
        ),
        pytest.param(
            {"task": "embed", "operation": Operation.CHAT, "model": "bge"},
            "invalid",
            "bge cannot do chat",
            id="an operation it has not, in a task where it has",
        ),
    ],
)
def test_refusals_that_waiting_does_not_cure(
    attributes: dict[str, Any], reason: str, says: str
) -> None:
    answer = refused(**attributes)

    assert answer.reason == reason
    assert says in answer.message
    assert answer.retry_after_s is None


@pytest.mark.parametrize(
    ("fleet", "attributes", "says"),
    [
        pytest.param(FLEET, {"model": "mixtral"}, "mixtral", id="configured"),
        pytest.param(
            fleet_of(node("a", ["phi"], alive=False)), {"model": "phi"}, "phi", id="on a lost node"
        ),
        pytest.param(fleet_of(), {}, "chat", id="a task without any node"),
        pytest.param(
            fleet_of(), {"model": "heuristic:tickets"}, "heuristic:tickets", id="rules, no worker"
        ),
        pytest.param(
            fleet_of(node("a", ["phi"])),
            {"operation": Operation.EMBEDDING},
            "embedding for task 'embed'",
            id="a task whose operation nobody offers",
        ),
    ],
)
def test_what_is_known_but_not_offered_may_be_asked_again(
    fleet: Fleet, attributes: dict[str, Any], says: str
) -> None:
    answer = refused(fleet, **attributes)

    assert answer.reason is FailureReason.NO_ELIGIBLE_NODE
    assert says in answer.message
    assert answer.retry_after_s == CONFIG.timing.node_lost_s


def test_rules_that_are_not_configured_are_not_used_though_a_node_offers_them() -> None:
    fleet = fleet_of(node("a", ["heuristic:nobody"]))

    assert refused(fleet, task="strange").reason is FailureReason.NO_ELIGIBLE_NODE


def test_any_puts_what_is_resident_first_then_the_largest_then_by_name() -> None:
    small, large = local("b", need_mib=1), local("c", need_mib=9)
    fleet = fleet_of(node("n", [small, large, local("a", need_mib=1), "tiny"], ["z"]))

    assert admitted(fleet).candidates == ("z", "c", "a", "b", "tiny")


def test_a_candidate_is_named_once() -> None:
    assert admitted(task="assess").candidates.count("qwen") == 1


@pytest.mark.parametrize(
    ("input_bytes", "candidates"),
    [
        pytest.param(3 * 4096, "qwen phi llama", id="fits"),
        pytest.param(8 * 4096 + 7, "qwen phi llama", id="may fit"),
        pytest.param(8 * 4097, "phi llama", id="cannot fit the smallest"),
    ],
)
def test_a_candidate_is_skipped_only_if_the_input_is_certainly_too_long(
    input_bytes: int, candidates: str
) -> None:
    answer = admitted(task="assess", input_bytes=input_bytes)

    assert answer.candidates == tuple(candidates.split())


def test_an_input_that_nothing_can_hold_is_told_by_how_much() -> None:
    answer = refused(model="qwen", input_bytes=8 * 5000)

    assert answer.reason is FailureReason.CONTEXT_EXCEEDED
    assert "between 5000 and 13333 tokens" in answer.message
    assert "4096: at least 904 too many" in answer.message


def test_a_batch_of_embeddings_may_be_longer_than_one_context() -> None:
    answer = admitted(operation=Operation.EMBEDDING, input_bytes=10**6)

    assert answer.candidates == ("bge",)


def test_rules_read_any_length() -> None:
    answer = admitted(task="tickets", input_bytes=10**6)

    assert answer.candidates == ("heuristic:tickets",)


@pytest.mark.parametrize(
    ("attributes", "priority", "deadline_s"),
    [
        pytest.param({}, "NORMAL", 900, id="of the default task"),
        pytest.param({"task": "assess"}, "HIGH", 300, id="of the task"),
        pytest.param({"task": "assess", "priority": Priority.LOW}, "LOW", 86_400, id="asked for"),
        pytest.param({"deadline_ms": 5_000}, "NORMAL", 5, id="a short deadline"),
    ],
)
def test_priority_and_deadline(
    attributes: dict[str, Any], priority: str, deadline_s: float
) -> None:
    answer = admitted(**attributes)

    assert answer.priority == priority
    assert answer.deadline_ms == deadline_s * 1000


def test_a_deadline_beyond_that_of_any_class_is_refused_and_not_cut() -> None:
    assert admitted(deadline_ms=86_400_000).deadline_ms == 86_400_000

    answer = refused(deadline_ms=10**9)

    assert answer.reason is FailureReason.INVALID
    assert "86400 s is the longest allowed" in answer.message


def test_max_tokens_are_passed_on() -> None:
    assert admitted(max_tokens=7).max_tokens == 7


MODELS = ["qwen", "mixtral", "llama", "phi", "bge", "tiny", "heuristic:tickets", "gpt"]


@law
@given(
    offered=st.sets(st.sampled_from(MODELS[:-1])),
    model=st.sampled_from(MODELS),
    task=st.none() | st.sampled_from(sorted(CONFIG.tasks)),
    input_bytes=st.integers(0, 10**6),
)
def test_a_concrete_name_never_becomes_another_model(
    offered: set[str], model: str, task: str | None, input_bytes: int
) -> None:
    fleet = fleet_of(node("n", offered))

    answer = ask(fleet, model=model, task=task, input_bytes=input_bytes)

    if isinstance(answer, Admitted):
        assert answer.candidates == (model,)


@law
@given(
    offered=st.sets(st.sampled_from(MODELS[:-1])),
    task=st.sampled_from(sorted(CONFIG.tasks)),
    operation=st.none() | st.sampled_from(Operation),
)
def test_who_is_admitted_has_a_candidate_that_a_live_node_offers(
    offered: set[str], task: str, operation: Operation | None
) -> None:
    fleet = fleet_of(node("n", offered))

    answer = ask(fleet, task=task, operation=operation)

    if isinstance(answer, Admitted):
        assert any(model in fleet.offers for model in answer.candidates)
        assert len(set(answer.candidates)) == len(answer.candidates)
