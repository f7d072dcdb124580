"""When a wish about a model has come true, told from what nodes say."""

import pytest

from cli.errors import UserError
from cli.residency import LoadFailedError, Wish, fulfil
from cli.store import connected
from shared.events.models import (
    LocalModel,
    ModelState,
    ModelStateChanged,
    NodeHeartbeat,
    ResidentModel,
)
from tests.servers import Store


def change(state: ModelState, node: str = "a", reason: str = "") -> ModelStateChanged:
    load_ms = 7 if state is ModelState.READY else None
    return ModelStateChanged(model="m", node=node, state=state, reason=reason, load_ms=load_ms)


def beat(node: str, state: ModelState | None) -> NodeHeartbeat:
    held = ResidentModel(name="m", state=state, slots=2, in_flight=1, idle_s=0) if state else None
    return NodeHeartbeat(
        node=node, instance="i", inventory=(), resident=(held,) if held else (), in_flight=0
    )


def test_a_load_is_fulfilled_by_any_node() -> None:
    wish = Wish("m", "load", {})

    wish.on_change(change(ModelState.LOADING, "a"))
    assert not wish.fulfilled
    wish.on_change(change(ModelState.READY, "b"))

    assert wish.fulfilled
    assert wish.load_ms == 7


def test_an_unload_is_fulfilled_by_all_nodes() -> None:
    wish = Wish("m", "unload", {"a": ModelState.READY, "b": ModelState.READY})

    wish.on_change(change(ModelState.UNLOADED, "a"))
    assert not wish.fulfilled
    wish.on_change(change(ModelState.UNLOADED, "b"))

    assert wish.fulfilled


def test_a_load_that_ends_unloaded_has_failed() -> None:
    wish = Wish("m", "load", {})
    wish.on_change(change(ModelState.LOADING))

    with pytest.raises(LoadFailedError, match="a: does not fit"):
        wish.on_change(change(ModelState.UNLOADED, reason="does not fit"))


def test_an_unload_that_was_under_way_does_not_make_the_load_after_it_fail() -> None:
    wish = Wish("m", "load", {"a": ModelState.DRAINING})

    wish.on_change(change(ModelState.UNLOADED))

    assert not wish.fulfilled


def test_a_model_that_an_engine_does_not_let_go_of_is_an_error() -> None:
    wish = Wish("m", "unload", {"a": ModelState.UNLOADING})

    with pytest.raises(LoadFailedError, match="a does not get rid of it: hung"):
        wish.on_change(change(ModelState.STUCK, reason="hung"))


def test_an_unload_is_asked_for_again_once_a_load_is_over() -> None:
    wish = Wish("m", "unload", {"a": ModelState.LOADING})
    assert not wish.must_ask_again

    wish.on_change(change(ModelState.READY))

    assert wish.must_ask_again


def test_beats_stand_in_for_changes_that_were_not_heard_of() -> None:
    wish = Wish("m", "unload", {"a": ModelState.DRAINING, "b": ModelState.DRAINING})

    wish.on_beats([beat("a", None), beat("b", ModelState.DRAINING)])
    assert (wish.states, wish.in_flight) == ({"b": ModelState.DRAINING}, {"b": 1})
    wish.on_beats([beat("a", None), beat("b", None)])

    assert wish.fulfilled


async def test_without_a_model_manager_the_wait_is_given_up(
    own_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LocalModel(name="m", engine="scripted", context_tokens=1, slots=1, need_mib=1)
    heard = NodeHeartbeat(node="a", instance="i", inventory=(model,), resident=(), in_flight=0)
    monkeypatch.setenv("REDIS_URL", own_store.url)

    async with connected() as connection:
        await connection.publish(heard, "beat")
        with pytest.raises(UserError, match="No model-manager runs"):
            await fulfil(connection, "m", "load", None, 30, print, quiet_s=0.1)
