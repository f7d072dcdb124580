"""Every script checks first, then does everything or nothing: types of keys, and who leads."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.bus import index, nodes
from shared.bus.keys import Keys
from shared.bus.requests import FencedError
from shared.bus.scripts import FOLDER, Argument, Fields, Script, names, script
from shared.bus.writer import ScriptError, Writer
from shared.events.base import Priority
from shared.events.models import ModelUnloadRequested, NodeHeartbeat
from tests.bus.facts import ASKER, LEASE_MS, NODE, REQUEST
from tests.bus.scene import STATES, Scene, Step
from tests.bus.stored import read

ZSETS = {"flight", "waiting", "from", "to", "index"}


class Saboteur(Writer):
    """Gives a key another type right before a script runs, then tells what the script changed."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        super().__init__(client)
        self._saboteurs_client = client
        self._keys = keys
        self.target = ("", "")
        """The script and its key that are tampered with."""
        self.refusals = 0

    async def run(
        self,
        script: Script,
        keys: dict[str, str],
        args: dict[str, Argument] | None = None,
        events: dict[str, Fields] | None = None,
        rest: Sequence[Argument] = (),
        more_keys: Sequence[str] = (),
    ) -> list[Any]:
        name, key = self.target
        if script.name != name:
            return await super().run(script, keys, args, events, rest, more_keys)
        await self._break(key, keys[key])
        before = await read(self._saboteurs_client, self._keys)
        with pytest.raises(ScriptError, match=f"{keys[key]}|WRONGTYPE"):
            await super().run(script, keys, args, events, rest, more_keys)
        assert await read(self._saboteurs_client, self._keys) == before
        self.refusals += 1
        raise ScriptError

    async def _break(self, name: str, key: str) -> None:
        await self._saboteurs_client.delete(key)
        if name in ZSETS:
            await self._saboteurs_client.set(key, "x")
        else:
            await self._saboteurs_client.zadd(key, {"x": 1})


async def reprioritise(scene: Scene) -> str:
    return await scene.records.reprioritise(scene.token, REQUEST, Priority.NORMAL, Priority.LOW)


async def beat(scene: Scene) -> str:
    return await scene.worker().beat(scene.attempt, LEASE_MS)


async def page(scene: Scene) -> None:
    await index.in_flight(scene.writer, scene.keys)


async def heartbeat(scene: Scene) -> None:
    beat = NodeHeartbeat(node=NODE, instance="worker-1", inventory=(), resident=(), in_flight=0)
    await nodes.beat(scene.writer, scene.keys, beat, 6.0)


async def command(scene: Scene) -> None:
    unload = ModelUnloadRequested(model="m", reason="idle")
    fence_key = scene.keys.fence("router")
    await nodes.command(
        scene.writer,
        scene.keys,
        unload,
        NODE,
        ordinal="1",
        fence_key=fence_key,
        token=scene.token,
    )


EFFECTIVE: dict[str, tuple[str, Step]] = {
    "admit": ("none", Scene.admit),
    "dispatch": ("waiting", Scene.dispatch),
    "start": ("dispatched", Scene.start),
    "beat": ("running", beat),
    "finish": ("running", Scene.complete),
    "abandon": ("running", Scene.abandon),
    "settle": ("released", Scene.retry),
    "end": ("running", Scene.cancel),
    "preempt": ("running", Scene.preempt),
    "reprioritise": ("waiting", reprioritise),
    "page": ("running", page),
    "heartbeat": ("none", heartbeat),
    "command": ("none", command),
}
"""Each script of the records, with a state in which it would do all that it can."""

LEADERS = ("admit", "dispatch", "settle", "end", "preempt", "reprioritise", "command")


def kind(name: str, key: str) -> str:
    """As the script's header gives it."""
    return re.findall(rf"^--! keys .*\b{key}:(\S+)", (FOLDER / f"{name}.lua").read_text(), re.M)[0]


BRANCHES: tuple[tuple[str, str, str, Step], ...] = (
    ("finish", "attempt_failed", "running", Scene.release),
    ("start", "node", "cancelled_dispatched", Scene.start),
    ("admit", "waiting", "none", Scene.admit),
    *(("admit", key, "none", Scene.admit_and_dispatch) for key in ("node", "routed", "flight")),
    *(
        ("admit", key, "completed", Scene.admit)
        for key in ("absent", "result", "waiters", "flight", "rejected", "cancelled")
    ),
)
"""Keys that only one branch of a script checks, with a state and a call that take it."""


def test_every_script_that_names_a_record_or_an_index_is_here() -> None:
    about_records = {
        name for name in names() if {"request", "flight", "index", "node"} & {*script(name).keys}
    }
    assert about_records == EFFECTIVE.keys()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (name, key)
        for name in EFFECTIVE
        for key in script(name).keys
        if kind(name, key) != "any" and not kind(name, key).endswith("*")
    ],
)
async def test_a_key_of_another_type_is_refused_before_anything_is_written(
    client: Redis, keys: Keys, name: str, key: str
) -> None:
    saboteur = Saboteur(client, keys)
    state, call = EFFECTIVE[name]
    async with Scene(client, keys, saboteur) as scene:
        await scene.reach(state)
        saboteur.target = (name, key)

        with pytest.raises(ScriptError):
            await call(scene)

    assert saboteur.refusals == 1


@pytest.mark.parametrize(("name", "key", "state", "call"), BRANCHES)
async def test_a_branch_checks_what_only_it_writes(
    client: Redis, keys: Keys, name: str, key: str, state: str, call: Step
) -> None:
    saboteur = Saboteur(client, keys)
    async with Scene(client, keys, saboteur) as scene:
        await scene.reach(state)
        saboteur.target = (name, key)

        with pytest.raises(ScriptError):
            await call(scene)

    assert saboteur.refusals == 1


def test_every_key_that_a_branch_checks_is_tested() -> None:
    checked = {
        (name, key)
        for name in EFFECTIVE
        for key in script(name).keys
        if kind(name, key).endswith("*")
    }
    assert checked - {("admit", "blob")} == {(name, key) for name, key, _, _ in BRANCHES}


async def test_a_reply_name_that_is_no_stream_does_not_stop_the_answer(
    scene: Scene, client: Redis
) -> None:
    await scene.reach("running")
    await client.delete(scene.keys.reply(ASKER))
    await client.set(scene.keys.reply(ASKER), "a string")

    assert await scene.emit() == "ok"


def test_a_leaders_script_is_one_that_knows_the_fence() -> None:
    assert {name for name in names() if "token" in script(name).args} == {*LEADERS}


@pytest.mark.parametrize("name", LEADERS)
@pytest.mark.parametrize("token", ["", "2:router-1"])
async def test_whoever_does_not_lead_changes_nothing(scene: Scene, name: str, token: str) -> None:
    state, call = EFFECTIVE[name]
    await scene.reach(state)
    entry = await scene.ask() if name == "admit" else None
    before = await scene.stored()
    scene.token = token

    with pytest.raises(FencedError):
        await (scene.admit(entry) if entry else call(scene))

    assert await scene.stored() == before


@pytest.mark.parametrize("state", STATES)
async def test_the_fence_holds_in_every_state(scene: Scene, state: str) -> None:
    await scene.reach(state)
    entry = await scene.ask()
    before = await scene.stored()
    scene.token = "1:router-2"

    for call in (Scene.dispatch, Scene.retry, Scene.give_up, Scene.cancel, Scene.preempt):
        with pytest.raises(FencedError):
            await call(scene)
    with pytest.raises(FencedError):
        await scene.admit(entry)

    assert await scene.stored() == before
