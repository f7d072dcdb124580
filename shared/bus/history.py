"""Looking back into the streams: what was said about a request, and who was heard last."""

from collections.abc import Iterable
from typing import Any

from shared.bus.envelope import Entry, decode
from shared.bus.keys import Keys
from shared.bus.tail import redis_now_ms
from shared.events.base import Event
from shared.events.inference import (
    InferenceAttemptFailed,
    InferenceRouted,
    InferenceStarted,
)
from shared.events.models import ModelState, ModelStateChanged, NodeHeartbeat

PAGE = 500
ABOUT_A_REQUEST: tuple[type[Event], ...] = (
    InferenceRouted,
    InferenceStarted,
    InferenceAttemptFailed,
)


async def about(
    client: Any, keys: Keys, request_id: str, from_ms: int, to_ms: int
) -> list[tuple[int, Event]]:
    """What routers and workers said about a request, oldest first, with the store's times in ms."""
    found = []
    for event_class in ABOUT_A_REQUEST:
        async for entry in _between(client, keys.stream(event_class), from_ms, to_ms):
            if entry.text("subject") == request_id:
                found.append((entry.milliseconds, decode(event_class, entry).event))
    return sorted(found, key=lambda pair: pair[0])


async def state_changes(
    client: Any, keys: Keys, models: Iterable[str], from_ms: int, to_ms: int
) -> list[tuple[int, ModelStateChanged]]:
    """What became of models in a time, oldest first; unloads of others are part of their story."""
    wanted = set(models)
    changes = []
    async for entry in _between(client, keys.stream(ModelStateChanged), from_ms, to_ms):
        change = decode(ModelStateChanged, entry).event
        if change.model in wanted or change.state is ModelState.UNLOADED:
            changes.append((entry.milliseconds, change))
    return changes


async def living_nodes(client: Any, keys: Keys, within_s: float) -> list[NodeHeartbeat]:
    """The last heartbeat of every node that was heard lately, by name."""
    now_ms = await redis_now_ms(client)
    beats: dict[str, NodeHeartbeat] = {}
    since_ms = now_ms - int(within_s * 1000)
    async for entry in _between(client, keys.stream(NodeHeartbeat), since_ms, now_ms):
        beat = decode(NodeHeartbeat, entry).event
        beats[beat.node] = beat
    return [beats[name] for name in sorted(beats)]


async def _between(client: Any, stream: str, from_ms: int, to_ms: int) -> Any:
    first = f"{from_ms}-0"
    while rows := await client.xrange(stream, first, f"{to_ms}-18446744073709551615", count=PAGE):
        for entry_id, fields in rows:
            yield Entry(stream, entry_id.decode(), fields)
        first = f"({rows[-1][0].decode()}"
