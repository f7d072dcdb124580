"""Asking for a model to be loaded or unloaded, and watching until that is so."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

from cli.errors import UserError
from cli.store import Connection
from shared.bus.configuration import stored_configuration
from shared.bus.history import living_nodes, state_changes
from shared.bus.ids import random_id
from shared.bus.tail import redis_now_ms
from shared.events.models import (
    LocalModel,
    ModelActionRequested,
    ModelState,
    ModelStateChanged,
    NodeHeartbeat,
)

LOOK_EVERY_S = 0.2
QUIET_S = 8.0
"""Longer than a model-manager takes to be started again: by then it has acted, or it cannot."""

GONE = ModelState.UNLOADED

Say = Callable[[str], None]


class LoadFailedError(Exception):
    """A node tried, and says why it could not."""


@dataclass
class Wish:
    """What shall become of a model, and what is known of it so far. Pure.

    `states` is by node; one that does not hold the model is missing. A load is fulfilled by any
    of its nodes, an unload by all of them.
    """

    model: str
    action: Literal["load", "unload"]
    states: dict[str, ModelState]
    load_ms: int | None = None
    measured_mib: int | None = None
    in_flight: dict[str, int] = field(default_factory=dict)

    @property
    def fulfilled(self) -> bool:
        if self.action == "load":
            return ModelState.READY in self.states.values()
        return not self.states

    @property
    def must_ask_again(self) -> bool:
        """A worker does not interrupt a load: once that is over, it can be told to unload."""
        return self.action == "unload" and ModelState.READY in self.states.values()

    def on_change(self, change: ModelStateChanged) -> None:
        """Raise `LoadFailedError` where the change says that it will not come true."""
        before = self.states.get(change.node)
        if change.state is ModelState.STUCK:
            raise LoadFailedError(f"{change.node} does not get rid of it: {change.reason}")
        if change.state is not GONE:
            self.states[change.node] = change.state
        else:
            self.states.pop(change.node, None)
        if change.state is ModelState.READY:
            self.load_ms, self.measured_mib = change.load_ms, change.measured_mib
        if change.state is GONE and before is ModelState.LOADING and self.action == "load":
            raise LoadFailedError(f"{change.node}: {change.reason}")

    def on_beats(self, beats: Iterable[NodeHeartbeat]) -> None:
        """What nodes hold now, should a change not have been heard of."""
        self.states = {
            beat.node: held.state
            for beat in beats
            for held in beat.resident
            if held.name == self.model and held.state is not GONE
        }
        self.in_flight = {
            beat.node: held.in_flight
            for beat in beats
            for held in beat.resident
            if held.name == self.model
        }


async def living(connection: Connection) -> list[NodeHeartbeat]:
    """The last heartbeat of every living node, by name."""
    config = await stored_configuration(connection.client, connection.keys)
    return await living_nodes(connection.client, connection.keys, config.timing.node_lost_s)


async def fulfil(
    connection: Connection,
    model: str,
    action: Literal["load", "unload"],
    node: str | None,
    timeout_s: float,
    say: Say,
    quiet_s: float = QUIET_S,
) -> tuple[Wish, bool]:
    """The wish once it is fulfilled, and whether anything had to be done. Raise `UserError`.

    After `quiet_s` without news it is asked whether anybody is there, and what is in the way.
    """
    beats = await living(connection)
    _check(beats, model, action, node)
    wish = Wish(model, action, {})
    wish.on_beats(_on(node, beats))
    if wish.fulfilled:
        return wish, False
    watch = _Watch(connection, wish, node, say, quiet_s)
    try:
        async with asyncio.timeout(timeout_s):
            await watch.run()
    except LoadFailedError as error:
        raise UserError(f"{model} was not {action}ed. {error}.", _advice(action, model)) from error
    except TimeoutError:
        why = watch.why_not(await living(connection))
        raise UserError(
            f"{model} is not {action}ed after {timeout_s:g} s: {why}.",
            "It may still happen; see ./roundhouse models",
        ) from None
    return wish, True


class _Watch:
    def __init__(
        self, connection: Connection, wish: Wish, node: str | None, say: Say, quiet_s: float
    ) -> None:
        self._connection = connection
        self._wish = wish
        self._node = node
        self._say = say
        self._quiet_s = quiet_s
        self._heard_s = monotonic()
        self._hinted = False

    async def run(self) -> None:
        since_ms = await redis_now_ms(self._connection.client)
        heard = 0
        await self._ask()
        while not self._wish.fulfilled:
            await asyncio.sleep(LOOK_EVERY_S)
            changes = await self._changes(since_ms)
            for change in changes[heard:]:
                await self._on_change(change)
                if self._wish.fulfilled:
                    return  # what follows is somebody else's wish
            heard = len(changes)
            if monotonic() - self._heard_s > self._quiet_s:
                await self._look_closer()

    async def _changes(self, since_ms: int) -> list[ModelStateChanged]:
        client, keys, model = self._connection.client, self._connection.keys, self._wish.model
        now_ms = await redis_now_ms(client)
        return [
            change
            for _, change in await state_changes(client, keys, [model], since_ms, now_ms)
            if change.model == model and self._node in (None, change.node)
        ]

    async def _ask(self) -> None:
        event = ModelActionRequested(
            model=self._wish.model, action=self._wish.action, node=self._node
        )
        await self._connection.publish(event, random_id())

    async def _on_change(self, change: ModelStateChanged) -> None:
        self._heard_s = monotonic()
        self._say(f"{change.node}: {change.state}{f' ({change.reason})' if change.reason else ''}")
        self._wish.on_change(change)
        if change.state is ModelState.READY and self._wish.must_ask_again:
            await self._ask()

    async def _look_closer(self) -> None:
        """Nothing was heard for a while: is anybody there, and is something in the way?"""
        if not await self._connection.leads("model-manager"):
            raise UserError(
                "No model-manager runs, so nobody loads or unloads models.",
                "See ./roundhouse status",
            )
        beats = await living(self._connection)
        self._wish.on_beats(_on(self._node, beats))
        if not self._hinted and not self._wish.fulfilled:
            self._hinted = True
            self._say(f"still waiting: {self.why_not(beats)}")

    def why_not(self, beats: list[NodeHeartbeat]) -> str:
        wish = self._wish
        if wish.action == "unload":
            serving = [f"{count} on {node}" for node, count in wish.in_flight.items() if count]
            return f"requests in flight: {', '.join(serving)}" if serving else "no node confirmed"
        if wish.states:
            return ", ".join(f"{state} on {node}" for node, state in wish.states.items())
        return "; ".join(
            _room(beat, local)
            for beat in _on(self._node, beats)
            for local in beat.inventory
            if local.name == wish.model
        )


def _room(beat: NodeHeartbeat, local: LocalModel) -> str:
    held = [
        f"{each.name} ({each.measured_mib or need.need_mib} MiB)"
        for each in beat.resident
        for need in beat.inventory
        if need.name == each.name and need.loadable
    ]
    holds = f"holds {', '.join(held)}" if held else "holds nothing else"
    return f"it needs {local.need_mib} MiB on {beat.node}, which {holds}"


def _on(node: str | None, beats: list[NodeHeartbeat]) -> list[NodeHeartbeat]:
    return [beat for beat in beats if node in (None, beat.node)]


def _check(beats: list[NodeHeartbeat], model: str, action: str, node: str | None) -> None:
    if not beats:
        raise UserError("No node is alive.", "See ./roundhouse status and ./roundhouse logs")
    if not _on(node, beats):
        alive = ", ".join(beat.node for beat in beats)
        raise UserError(f"No node {node} is alive.", f"There are: {alive}")
    offers = {local.name: local for beat in _on(node, beats) for local in beat.inventory}
    if model not in offers:
        where = f"Node {node} does not offer" if node else "No living node offers"
        raise UserError(f"{where} {model}.", f"There are: {', '.join(sorted(offers)) or 'none'}")
    if action == "unload" and not offers[model].loadable:
        raise UserError(
            f"{model} cannot be unloaded: its engine always holds it.",
            "Stop that engine, or take the model out of the configuration.",
        )


def _advice(action: str, model: str) -> str:
    if action == "unload":
        return "See ./roundhouse logs inference-worker; end the engine's process by hand."
    return f"It is tried again for ten minutes; ./roundhouse models unload {model} ends that."
