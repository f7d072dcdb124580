"""Models that cannot be had, and what becomes of those who wait for them."""

from typing import Any

import pytest

from services.router.policy.admission import Admitted, Load, admit
from services.router.policy.refusal import Refused
from services.router.policy.request import RequestAttributes
from services.router.policy.view import Barred, Fleet
from shared.config.models import Config
from shared.events.base import Priority
from shared.events.inference import FailureReason
from tests.fakes.world import fleet_of, local, node
from tests.router.backlogs import NOW_MS, backlog_of, just, taken

IDLE = Load(dict.fromkeys(Priority, 0), None, 0.1)
CONFIG = Config.model_validate(
    {
        "models": {"qwen": {"engine": "ollama"}, "mixtral": {"engine": "ollama"}},
        "tasks": {
            "assess": {"chain": ["qwen", "any"]},
            "backup": {"chain": ["mixtral", "qwen", "heuristic:tickets"]},
            "tickets": {"chain": ["mixtral", "heuristic:tickets"]},
        },
    }
)


def ask(fleet: Fleet, **attributes: Any) -> Admitted | Refused:
    return admit(RequestAttributes(**attributes), CONFIG, fleet, IDLE)


def test_what_is_refused_is_known_and_not_offered() -> None:
    fleet = fleet_of(node("a", ["qwen", "llama"]))
    version = fleet.offers_version

    fleet.refuse({"qwen": Barred("too large")})

    assert fleet.offers.keys() == {"llama"}
    assert "qwen" in fleet.known
    assert fleet.problems("qwen") == "too large"
    assert fleet.offers_version > version

    fleet.refuse({})
    assert fleet.offers.keys() == {"qwen", "llama"}
    assert fleet.barred == {}


def test_a_refusal_holds_for_nodes_that_are_heard_later() -> None:
    fleet = fleet_of(node("a", ["qwen"]))
    fleet.refuse({"qwen": Barred("too large")})

    fleet.put(node("b", ["qwen"]))

    assert fleet.offers == {}


def test_a_model_that_is_missing_wherever_it_is_configured_is_barred() -> None:
    fleet = fleet_of(node("a", left_out={"qwen": "no file"}))
    assert fleet.barred == {"qwen": Barred("a: no file")}

    fleet.put(node("b", ["qwen"]))
    assert fleet.barred == {}
    fleet.lose("b")
    assert fleet.barred == {}, "it may return"


def test_the_last_word_of_a_lost_node_bars_nothing() -> None:
    fleet = fleet_of(node("a", left_out={"qwen": "no file"}))

    fleet.lose("a")

    assert fleet.barred == {}


def test_a_problem_of_an_offer_is_told_by_the_nodes_that_have_it() -> None:
    broken = local("qwen", load_problem="broken")
    fleet = fleet_of(node("a", [broken]), node("b", ["qwen"]), node("c", [broken], alive=False))

    assert fleet.problems("qwen") == "a: broken"
    assert fleet.problems("llama") == ""


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        pytest.param({"model": "qwen"}, ("qwen",), id="by its name"),
        pytest.param({"task": "assess"}, ("qwen", "llama"), id="by a task"),
    ],
)
def test_what_can_only_go_to_barred_models_is_refused_with_what_is_wrong_with_them(
    attributes: dict[str, Any], named: tuple[str, ...]
) -> None:
    fleet = fleet_of(node("a", ["llama"], left_out={"qwen": "no such file"}))
    fleet.refuse({"llama": Barred("too large", 40.0)})

    answer = ask(fleet, **attributes)

    assert isinstance(answer, Refused)
    assert answer.reason is FailureReason.NO_ELIGIBLE_NODE
    whys = {
        "qwen": "qwen cannot be had (a: no such file)",
        "llama": "llama cannot be had (too large)",
    }
    assert answer.message.split("; ") == [whys[model] for model in named]
    assert answer.retry_after_s == (40.0 if "llama" in named else CONFIG.timing.node_lost_s)


def test_a_barred_model_leaves_its_place_to_what_the_chain_names_next() -> None:
    fleet = fleet_of(node("a", ["qwen", "mixtral", "heuristic:tickets"]))
    fleet.refuse({"mixtral": Barred("too large")})

    tickets, backup = ask(fleet, task="tickets"), ask(fleet, task="backup")

    assert isinstance(tickets, Admitted)
    assert tickets.candidates == ("heuristic:tickets",)
    assert isinstance(backup, Admitted)
    assert backup.candidates == ("mixtral", "qwen", "heuristic:tickets"), "it may be had later"


def test_whoever_waits_for_barred_models_alone_is_given_up() -> None:
    fleet = fleet_of(node("a", ["big", "llama"]))
    backlog = backlog_of(
        fleet, just("r1", "big"), just("r2", "big", "huge"), just("r3", "llama"), just("r4", "big")
    )
    assert backlog.give_up(NOW_MS) == []

    fleet.refuse({"big": Barred("too large"), "huge": Barred("too large")})
    given_up = backlog.give_up(NOW_MS)

    assert sorted(waiting.id for waiting in given_up) == ["r1", "r2", "r4"]
    assert [waiting.id for waiting in backlog] == ["r3"]
    assert backlog.lengths[Priority.NORMAL] == 1
    assert backlog.demand(NOW_MS).keys() == {"llama"}


def test_whoever_waits_for_a_barred_model_moves_on_even_to_a_fallback() -> None:
    fleet = fleet_of(node("a", ["big"], ["heuristic:tickets"]))
    backlog = backlog_of(fleet, just("r1", "big", "heuristic:tickets"))
    assert backlog.next_assignment(NOW_MS) is None

    fleet.refuse({"big": Barred("too large")})

    assert backlog.give_up(NOW_MS) == []
    assignment = backlog.next_assignment(NOW_MS)
    assert taken(assignment) == ("r1", "heuristic:tickets", "a")
    assert assignment is not None
    assert assignment.waiting.position == 1


def test_whoever_waits_for_a_barred_model_waits_for_a_node_that_may_return() -> None:
    fleet = fleet_of(node("a", ["big"]), node("b", ["small"], alive=False))
    backlog = backlog_of(fleet, just("r1", "big", "small"))

    fleet.refuse({"big": Barred("too large")})
    assert backlog.give_up(NOW_MS) == []
    fleet.put(node("b", ready=["small"]))

    assert taken(backlog.next_assignment(NOW_MS)) == ("r1", "small", "b")


def test_a_candidate_that_is_too_small_is_no_way_out() -> None:
    fleet = fleet_of(node("a", ["big", "small"]))
    backlog = backlog_of(fleet, just("r1", "big", "small", too_small=frozenset({"small"})))

    fleet.refuse({"big": Barred("too large")})

    assert [waiting.id for waiting in backlog.give_up(NOW_MS)] == ["r1"]


def test_a_model_that_is_barred_no_longer_is_waited_for_again() -> None:
    fleet = fleet_of(node("a", ["big"]))
    fleet.refuse({"big": Barred("too large")})
    backlog = backlog_of(fleet)
    fleet.refuse({})
    backlog.add(just("r1", "big"))

    assert backlog.give_up(NOW_MS) == []
    assert backlog.demand(NOW_MS).keys() == {"big"}
