"""Rules answer with the label whose words fit best."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.inference_worker.backends.heuristic import Heuristic, classify
from services.inference_worker.backends.port import BackendError, Call, Delta, Profile
from shared.config.models import HeuristicConfig, HeuristicRule
from shared.events.base import Operation
from shared.events.inference import FailureReason

RULES = HeuristicConfig(
    default="other",
    rules=(
        HeuristicRule(label="billing", any_of=("invoice", "refund", "charged")),
        HeuristicRule(label="login", any_of=("log in", "password", "c++ key")),
    ),
)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Where is my invoice?", "billing"),
        ("I forgot my PASSWORD", "login"),
        ("cannot log\n  in since monday", "login"),
        ("my c++ key is gone", "login"),
        ("The passwords are fine, I was charged twice. Refund!", "billing"),
        ("charged, and then the password: password, password", "login"),
        ("a catalogue of things", "other"),
        ("uncharged", "other"),
        ("", "other"),
        ("refund my password", "billing"),
    ],
)
def test_the_label_whose_words_fit_best_wins(text: str, label: str) -> None:
    assert classify(text, RULES) == label


@given(some.text(alphabet="refundpasword invoice LOG"))
def test_the_answer_is_one_of_the_labels_in_any_case(text: str) -> None:
    label = classify(text, RULES)

    assert label in ("billing", "login", "other")
    assert classify(text.upper(), RULES) == label


def ask(operation: Operation, **body: object) -> Call:
    return Call(Profile("heuristic:tickets", 1, 1), operation, body)


@pytest.mark.parametrize(
    "call",
    [
        ask(Operation.COMPLETION, prompt="an invoice"),
        ask(
            Operation.CHAT,
            messages=[
                {"role": "system", "content": "Sort by password, invoice or other."},
                {"role": "user", "content": "my password"},
                {"role": "assistant", "content": "login"},
                {"role": "user", "content": [{"type": "text", "text": "and an invoice"}]},
            ],
        ),
    ],
    ids=["the prompt", "the last user message"],
)
async def test_it_judges_what_was_said_last(call: Call) -> None:
    pieces = [piece async for piece in Heuristic({"tickets": RULES}).stream(call)]

    assert pieces[0] == Delta("billing")


async def test_its_answers_count_as_degraded_and_take_no_memory() -> None:
    (model,) = await Heuristic({"tickets": RULES}).models()

    assert model.name == "heuristic:tickets"
    assert model.degraded
    assert not model.loadable
    assert model.need_mib == 0


async def test_it_embeds_nothing() -> None:
    with pytest.raises(BackendError) as refused:
        await anext(Heuristic({"tickets": RULES}).stream(ask(Operation.EMBEDDING, input="x")))

    assert refused.value.reason is FailureReason.BAD_INPUT
