"""All engines as one: what a change of the configuration, or a broken engine, leaves behind."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from services.inference_worker.backends.port import BackendError, Profile, Resident
from services.inference_worker.engines import Engines
from shared.events.inference import FailureReason
from shared.events.models import LocalModel, ModelState
from tests.fakes.backend import ScriptedBackend
from tests.waiting import until

MODEL = "m"


class Gated(ScriptedBackend):
    """Loads, and says what it offers and what it held when asked, only once the test lets it."""

    def __init__(self, loadable: bool = True) -> None:
        super().__init__((MODEL,))
        self.loadable = loadable
        self.may_load, self.may_offer, self.may_tell = (asyncio.Event() for _ in range(3))
        for gate in (self.may_load, self.may_offer, self.may_tell):
            gate.set()
        self.asked: list[str] = []
        self.closed = False

    async def models(self) -> Sequence[LocalModel]:
        self.asked.append("models")
        await self.may_offer.wait()
        return [
            local.model_copy(update={"loadable": self.loadable}) for local in await super().models()
        ]

    async def resident(self) -> Sequence[Resident]:
        self.asked.append("resident")
        held = await super().resident()
        await self.may_tell.wait()
        return held

    async def load(self, profile: Profile) -> int | None:
        await self.may_load.wait()
        return await super().load(profile)

    async def close(self) -> None:
        self.closed = True
        await super().close()


class Faulty(ScriptedBackend):
    """Fails in ways that the port does not know."""

    async def load(self, profile: Profile) -> int | None:
        raise ValueError("a bug in the backend")

    async def unload(self, model: str) -> None:
        raise ValueError("a bug in the backend")


class Slow(ScriptedBackend):
    """Says too late that it has let go."""

    async def unload(self, model: str) -> None:
        raise BackendError(FailureReason.HUNG, "it still holds the model")


@pytest.fixture
async def engines() -> AsyncIterator[Engines]:
    engines = Engines(lambda _loaded, _reason, _load_ms: None, lambda: None)
    yield engines
    await engines.close()


def load(engines: Engines) -> None:
    engines.load(MODEL, 1024, 1, "demand")


def states(engines: Engines) -> list[ModelState]:
    return [model.state for model in engines.resident]


async def test_a_model_that_loads_while_its_engine_is_given_up_is_unloaded_and_free_again(
    engines: Engines,
) -> None:
    before, after = Gated(), Gated()
    before.may_load.clear()
    await engines.use([before])
    load(engines)

    await engines.use([after])
    before.may_load.set()
    await until(lambda: before.closed)
    await until(lambda: not engines.resident)

    load(engines)
    loaded = await until(lambda: engines.ready(MODEL))
    assert loaded.backend is after


async def test_a_model_that_its_engine_does_not_let_go_is_given_up_with_the_engine(
    engines: Engines,
) -> None:
    stuck = Slow((MODEL,))
    stuck.loaded.add(MODEL)
    await engines.use([stuck])
    engines.unload(MODEL, "idle")
    await until(lambda: states(engines) == [ModelState.STUCK])

    await engines.use([ScriptedBackend((MODEL,))])

    await until(lambda: not engines.resident)


async def test_what_a_given_up_engine_says_late_is_not_heard(engines: Engines) -> None:
    before = Gated(loadable=False)
    await engines.use([before])
    before.may_offer.clear()
    before.asked.clear()
    asking = asyncio.create_task(engines.refresh())
    await until(lambda: before.asked)

    await engines.use([ScriptedBackend(())])
    before.may_offer.set()
    await asking

    assert (engines.offers.inventory, engines.resident) == ((), ())


async def test_engines_that_are_given_up_are_closed_even_if_the_worker_stops_meanwhile(
    engines: Engines,
) -> None:
    before = Gated()
    before.may_load.clear()
    await engines.use([before])
    load(engines)
    await engines.use([ScriptedBackend((MODEL,))])

    await engines.close()

    assert before.closed


async def test_a_load_that_breaks_unexpectedly_can_be_tried_again(engines: Engines) -> None:
    await engines.use([Faulty((MODEL,))])

    for _ in range(2):
        load(engines)
        assert states(engines) == [ModelState.LOADING]
        await until(lambda: not engines.resident)


async def test_an_unload_that_breaks_unexpectedly_is_stuck_until_the_engine_lets_go(
    engines: Engines,
) -> None:
    faulty = Faulty((MODEL,))
    faulty.loaded.add(MODEL)
    await engines.use([faulty])

    engines.unload(MODEL, "idle")
    await until(lambda: states(engines) == [ModelState.STUCK])
    await engines.refresh()
    assert states(engines) == [ModelState.STUCK]

    faulty.loaded.clear()
    await engines.refresh()
    assert engines.resident == ()


async def test_a_model_that_became_ready_while_its_engine_was_asked_is_not_taken_for_dropped(
    engines: Engines,
) -> None:
    engine = Gated()
    await engines.use([engine])
    engine.may_load.clear()
    load(engines)
    engine.may_tell.clear()
    engine.asked.clear()
    asking = asyncio.create_task(engines.refresh())
    await until(lambda: "resident" in engine.asked)

    engine.may_load.set()
    await until(lambda: engines.ready(MODEL))
    engine.may_tell.set()
    await asking

    assert engines.ready(MODEL)


class Broken(ScriptedBackend):
    """Loads once it is mended; lacks what it is configured for."""

    problem = "no such file"
    lacks: Mapping[str, str] = {}

    async def load(self, profile: Profile) -> int | None:
        if self.problem:
            raise BackendError(FailureReason.REFUSED, self.problem)
        return await super().load(profile)

    def left_out(self) -> Mapping[str, str]:
        return self.lacks


def problem(engines: Engines) -> str | None:
    (local,) = engines.offers.inventory
    return local.load_problem


async def test_a_model_says_why_its_last_load_failed_until_one_works(engines: Engines) -> None:
    broken = Broken((MODEL,))
    await engines.use([broken])
    assert problem(engines) is None

    load(engines)
    await until(lambda: not engines.resident)
    await engines.refresh()
    assert problem(engines) == "no such file"

    broken.problem = ""
    load(engines)
    assert problem(engines) == "no such file", "nothing is known yet"
    await until(lambda: engines.ready(MODEL))
    assert problem(engines) is None


async def test_a_problem_is_said_in_few_words(engines: Engines) -> None:
    broken = Broken((MODEL,))
    broken.problem = "long " * 1000
    await engines.use([broken])

    load(engines)
    await until(lambda: not engines.resident)

    assert len(problem(engines) or "") == 300


async def test_a_changed_configuration_may_have_mended_what_was_wrong(engines: Engines) -> None:
    await engines.use([Broken((MODEL,))])
    load(engines)
    await until(lambda: problem(engines))

    await engines.use([Broken((MODEL,))])

    assert problem(engines) is None


async def test_what_one_engine_lacks_another_may_have(engines: Engines) -> None:
    first, second = Broken(("a",)), Broken(("b",))
    first.lacks = {"b": "first has no b", "c": "first has no c"}
    second.lacks = {"a": "second has no a", "c": "second has no c"}

    await engines.use([first, second])

    assert engines.offers.left_out == {"c": "first has no c; second has no c"}


async def test_that_a_model_came_to_be_missing_is_news() -> None:
    told: list[bool] = []
    engines = Engines(lambda _loaded, _reason, _load_ms: None, lambda: told.append(True))
    broken = Broken((MODEL,))
    await engines.use([broken])
    told.clear()

    await engines.refresh()
    assert not told
    broken.lacks = {"c": "it has no c"}
    await engines.refresh()

    assert told
    await engines.close()
