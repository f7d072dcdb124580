"""Engines that stall, take for ever, break in ways nobody foresaw, or have lost their model."""

from time import monotonic

import pytest

from shared.bus.bus import Bus
from shared.bus.configuration import store_configuration
from shared.bus.keys import Keys
from shared.events.models import ModelDemandChanged, ModelLoadRequested
from shared.settings import ServiceSettings
from tests.fakes.asking import final, said
from tests.journeys import checker
from tests.journeys.conftest import CONFIG, Stage
from tests.waiting import until

FIVE_SECONDS = " ".join(["word"] * 25)
"""Of the slow model: longer than an attempt may take."""


@pytest.mark.parametrize(
    ("task", "text", "reason", "within_s"),
    [
        pytest.param("hanging", "hi", "hung", 1.0 + 1, id="no first token"),
        pytest.param("stalling", "hi", "hung", 1.0 + 1, id="no next token"),
        pytest.param("endless", FIVE_SECONDS, "hung", 4.0 + 1, id="too long in all"),
        pytest.param("buggy", "hi", "crashed", 1, id="an unforeseen error"),
    ],
)
async def test_an_engine_that_does_not_answer_is_followed_by_the_next_in_time(
    stage: Stage, task: str, text: str, reason: str, within_s: float
) -> None:
    await stage.router()
    await stage.moody_worker("n1", "hang", "stall", "slow", "bug", "echo")
    await stage.asker.answer("all are here")
    asked_s = monotonic()

    end = await stage.asker.answer(text, model="", task=task)

    assert said(end) == text
    assert end.data["model"] == "echo"
    assert monotonic() - asked_s < within_s
    story = (await stage.stories())[end.data["request_id"]]
    assert [entry["data"]["reason"] for entry in story.failed] == [reason]
    await stage.settled()


async def test_a_request_waits_for_its_model_to_be_loaded(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1", "echo", loaded=False)

    stream = await stage.asker.ask("worth waiting for")
    await until(lambda: _is_demanded(stage))
    await _load(stage, "n1")

    assert said(await final(stream)) == "worth waiting for"
    await stage.settled()


async def test_an_attempt_that_finds_its_model_gone_is_nobodys_fault(stage: Stage) -> None:
    timing = CONFIG.timing.model_copy(update={"node_lost_s": 30.0, "flight_lease_s": 30.0})
    patient = CONFIG.model_copy(update={"timing": timing})
    await store_configuration(stage.client, checker.KEYS, patient, "test")
    await stage.router()
    holder = await stage.worker("n1", "echo")
    holder.freeze()
    stream = await stage.asker.ask("not there any more")
    await until(lambda: stage.client.zcard(checker.KEYS.flight))

    holder.kill()
    await stage.worker("n1", "echo", loaded=False)
    await until(lambda: _has_failed(stage, stream.request_id))
    await _load(stage, "n1")

    assert said(await final(stream)) == "not there any more"
    story = (await stage.stories())[stream.request_id]
    assert {(entry["data"]["reason"], entry["data"]["charge"]) for entry in story.failed} == {
        ("not_resident", 0)
    }
    await stage.settled()


async def _load(stage: Stage, node: str) -> None:
    """What model-manager does once it hears of the demand."""
    place = ServiceSettings(redis_url=stage.store.url)
    bus = Bus("model-manager", place, publishes=(ModelLoadRequested,))
    load = ModelLoadRequested(model="echo", context_tokens=4096, slots=4, reason="demand")
    await bus.publish(load, node=node)
    await bus.stop()


async def _is_demanded(stage: Stage) -> bool:
    told = await checker.said(stage.client, Keys().stream(ModelDemandChanged))
    return bool(told and told[-1]["data"]["demands"])


async def _has_failed(stage: Stage, request: str) -> bool:
    return bool((await stage.stories())[request].failed)
