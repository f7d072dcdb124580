"""What the worker may rely on, whichever the engine is."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from functools import partial
from time import monotonic

import pytest

from services.inference_worker.backends.model_files import TINY_FILE
from services.inference_worker.backends.port import BackendError, Call, Delta, Profile
from services.inference_worker.tiny_model import generate
from shared.events.base import Operation
from shared.events.inference import FailureReason
from tests.conformance.subjects import CONTEXT_TOKENS, SLOTS, Engines, Subject, answer
from tests.waiting import until

WITH_ENGINE = ["llama_cpp", "openai", "ollama"]


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    tiny = tmp_path_factory.mktemp("data") / "models" / TINY_FILE
    generate(tiny)
    engines = Engines(tiny)
    yield engines
    engines.close()


@pytest.fixture(params=["llama_cpp", "openai", "ollama", "heuristic"])
async def subject(request: pytest.FixtureRequest, processes: Engines) -> AsyncIterator[Subject]:
    """Each backend, with its model loaded."""
    subject = processes.subject(request.param)
    await subject.backend.load(subject.profile)
    yield subject
    with suppress(BackendError):  # where the test has killed the engine
        await subject.close()


engines = pytest.mark.parametrize("subject", WITH_ENGINE, indirect=True)
loading = pytest.mark.parametrize("subject", ["llama_cpp", "ollama"], indirect=True)


async def test_it_lists_its_models_and_what_they_can_do(subject: Subject) -> None:
    models = {model.name: model for model in await subject.backend.models()}

    model = models[subject.profile.model]
    assert model.engine == subject.backend.engine
    assert {Operation.CHAT, Operation.COMPLETION} <= set(model.operations)
    assert model.context_tokens >= CONTEXT_TOKENS
    assert model.slots >= 1
    assert model.need_mib > 0 or not model.loadable


async def test_a_loaded_model_is_resident(subject: Subject) -> None:
    resident = {each.model: each for each in await subject.backend.resident()}

    assert resident[subject.profile.model].context_tokens in (CONTEXT_TOKENS, None)


@loading
async def test_an_unloaded_model_is_not_resident_when_unload_returns(subject: Subject) -> None:
    await subject.backend.unload(subject.profile.model)

    assert not await subject.backend.resident()


@loading
async def test_the_size_of_a_loaded_model_is_measured(subject: Subject) -> None:
    measured_mib = await subject.backend.load(subject.profile)

    assert measured_mib is not None
    assert 10 < measured_mib < 500
    (resident,) = await subject.backend.resident()
    assert resident.measured_mib == pytest.approx(measured_mib, abs=50)


@loading
async def test_loading_what_is_loaded_changes_nothing(subject: Subject) -> None:
    before = subject.pid()

    await asyncio.gather(*(subject.backend.load(subject.profile) for _ in range(3)))

    assert subject.pid() == before
    assert len(await subject.backend.resident()) == 1


@loading
async def test_unloading_what_is_not_loaded_changes_nothing(subject: Subject) -> None:
    await subject.backend.unload(subject.profile.model)
    await subject.backend.unload(subject.profile.model)

    assert not await subject.backend.resident()


async def test_a_model_that_nobody_has_cannot_be_loaded(subject: Subject) -> None:
    with pytest.raises(BackendError) as refused:
        await subject.backend.load(Profile("no-such-model", CONTEXT_TOKENS, 1))

    assert refused.value.reason is FailureReason.REFUSED
    assert "no-such-model" in str(refused.value)


async def test_a_chat_is_answered_in_pieces_with_an_account_at_the_end(subject: Subject) -> None:
    text, finished = await answer(subject.backend, subject.chat(limit=8))

    assert text.strip()
    assert finished.finish_reason in ("stop", "length")


@engines
async def test_the_account_tells_tokens_and_times(subject: Subject) -> None:
    _, finished = await answer(subject.backend, subject.chat(limit=8))

    assert finished.usage.prompt_tokens > 0
    assert 0 < finished.usage.completion_tokens <= 8
    assert finished.prefill_ms is not None
    assert finished.decode_ms is not None
    assert finished.load_ms is None, "nothing was loaded for this call"


@engines
async def test_no_more_tokens_are_generated_than_allowed(subject: Subject) -> None:
    _, finished = await answer(subject.backend, subject.chat(limit=5, ignore_eos=True))

    assert finished.finish_reason == "length"
    assert finished.usage.completion_tokens == 5


@engines
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_the_lower_of_two_limits_holds(subject: Subject, name: str) -> None:
    call = subject.chat("hello", 9, ignore_eos=True, **{name: 4})

    _, finished = await answer(subject.backend, call)

    assert finished.usage.completion_tokens == 4


async def test_a_prompt_is_completed(subject: Subject) -> None:
    call = subject.call(Operation.COMPLETION, 6, prompt="an invoice and a refund")

    text, _ = await answer(subject.backend, call)

    assert text.strip()


@engines
async def test_texts_are_embedded_in_their_order(subject: Subject) -> None:
    assert subject.embedder is not None
    await subject.backend.load(subject.embedder)
    calls = [
        Call(subject.embedder, Operation.EMBEDDING, {"input": texts})
        for texts in (["a", "two words"], ["two words"])
    ]

    (_, both), (_, second) = [await answer(subject.backend, call) for call in calls]

    assert both.embeddings is not None
    assert second.embeddings is not None
    assert len(both.embeddings) == 2
    assert both.embeddings[1] == pytest.approx(second.embeddings[0], abs=1e-3)
    assert both.usage.prompt_tokens > second.usage.prompt_tokens > 0


@engines
@pytest.mark.parametrize("words", [3_000, 300_000], ids=["a little", "by far"])
async def test_a_prompt_that_does_not_fit_is_refused_with_its_length(
    subject: Subject, words: int
) -> None:
    with pytest.raises(BackendError) as refused:
        await answer(subject.backend, subject.chat("word " * words))

    assert refused.value.reason is FailureReason.CONTEXT_EXCEEDED
    assert refused.value.tokens_needed is not None
    assert refused.value.tokens_needed >= words


@engines
async def test_a_text_too_long_to_embed_is_refused(subject: Subject) -> None:
    assert subject.embedder is not None
    await subject.backend.load(subject.embedder)
    call = Call(subject.embedder, Operation.EMBEDDING, {"input": "word " * 3_000})

    with pytest.raises(BackendError) as refused:
        await answer(subject.backend, call)

    assert refused.value.reason is FailureReason.CONTEXT_EXCEEDED


async def test_a_malformed_request_is_the_callers_fault(subject: Subject) -> None:
    with pytest.raises(BackendError) as refused:
        await answer(subject.backend, subject.call(Operation.CHAT, 4, messages="hello"))

    assert refused.value.reason is FailureReason.BAD_INPUT


@engines
async def test_more_than_one_answer_is_refused_rather_than_one_of_them_dropped(
    subject: Subject,
) -> None:
    with pytest.raises(BackendError, match="n must be 1") as refused:
        await answer(subject.backend, subject.chat(n=2))

    assert refused.value.reason is FailureReason.BAD_INPUT


async def test_two_calls_run_side_by_side(subject: Subject) -> None:
    calls = [subject.chat("charged twice, refund the invoice"), subject.chat("i cannot log in")]

    answers = await asyncio.gather(*(answer(subject.backend, call) for call in calls))

    assert all(text.strip() for text, _ in answers)


@engines
async def test_calls_in_quick_succession_are_all_answered(subject: Subject) -> None:
    for _ in range(30):
        await answer(subject.backend, subject.chat(limit=1))


@engines
async def test_streams_left_early_free_their_slots_at_once(subject: Subject) -> None:
    reader = asyncio.create_task(answer(subject.backend, subject.endless()))
    async with aclosing(subject.backend.stream(subject.endless())) as pieces:
        assert isinstance(await anext(pieces), Delta)
        await asyncio.wait([reader], timeout=0.2)
        assert not reader.done()
        reader.cancel()
        await asyncio.wait([reader])
    left_s = monotonic()

    await asyncio.gather(*(answer(subject.backend, subject.chat(limit=1)) for _ in range(SLOTS)))

    assert monotonic() - left_s < 1.0


@engines
async def test_a_stream_whose_engine_is_killed_ends_as_crashed(subject: Subject) -> None:
    async with aclosing(subject.backend.stream(subject.endless())) as pieces:
        await anext(pieces)
        subject.signal(signal.SIGKILL)
        with pytest.raises(BackendError) as crashed:
            await to_the_end(pieces)

    assert crashed.value.reason is FailureReason.CRASHED


@engines
async def test_what_a_killed_engine_held_is_no_longer_resident(subject: Subject) -> None:
    subject.signal(signal.SIGKILL)

    await until(partial(holds_nothing, subject))
    with pytest.raises(BackendError) as absent:
        await answer(subject.backend, subject.chat())

    assert absent.value.reason in (FailureReason.NOT_RESIDENT, FailureReason.REFUSED)


@engines
async def test_a_frozen_engine_does_not_hold_up_who_asks_what_it_holds(subject: Subject) -> None:
    subject.signal(signal.SIGSTOP)
    began_s = monotonic()

    with suppress(BackendError):
        await subject.backend.resident()

    subject.signal(signal.SIGCONT)
    assert monotonic() - began_s < 2.5


async def to_the_end(pieces: AsyncIterator[object]) -> None:
    async for _ in pieces:
        pass


async def holds_nothing(subject: Subject) -> bool:
    try:
        return not await subject.backend.resident()
    except BackendError as error:
        return error.reason is FailureReason.REFUSED
