"""What waits and what runs, as a whole; of a long queue, a sample."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cli.residency import living
from cli.store import Connection
from shared.bus import listing
from shared.bus.index import PAGE, in_flight
from shared.bus.listing import Listed, Waiting
from shared.bus.tail import redis_now_ms
from shared.events.base import Priority
from shared.events.models import NodeHeartbeat

SAMPLES = 4
"""Pages of each class, evenly spread."""


@dataclass(frozen=True)
class ClassOf:
    """A class: how many wait, how long the oldest has, and how long a new one will have to."""

    priority: str
    waiting: int
    oldest_s: float | None
    expected_s: float | None


@dataclass(frozen=True)
class Share:
    """So many wait of a kind: of a task, model and tenant."""

    task: str
    model: str
    tenant: str
    waiting: int


@dataclass(frozen=True)
class Node:
    name: str
    in_flight: int
    slots: int


@dataclass(frozen=True)
class Queue:
    """`sampled`: the kinds are an estimate, from a part of what waits."""

    classes: list[ClassOf]
    kinds: list[Share]
    nodes: list[Node]
    sampled: bool


async def look(connection: Connection) -> Queue:
    writer, keys = connection.writer, connection.keys
    now_ms = await redis_now_ms(connection.client)
    waiting = await listing.waiting(writer, keys)
    begun_per_s = await listing.begun_per_s(writer, keys, now_ms)
    kinds: Counter[tuple[str, str, str]] = Counter()
    for priority, each in waiting.items():
        seen = await _sample(connection, priority, each.count)
        for kind, count in Counter(map(_kind, seen)).items():
            kinds[kind] += round(count * each.count / len(seen))
    flying = await in_flight(writer, keys)
    return Queue(
        classes=_classes(waiting, begun_per_s, now_ms),
        kinds=[Share(*kind, count) for kind, count in kinds.most_common()],
        nodes=_nodes(await living(connection), Counter(row.node for row in flying)),
        sampled=any(each.count > SAMPLES * PAGE for each in waiting.values()),
    )


async def _sample(connection: Connection, priority: Priority, count: int) -> list[Listed]:
    index = connection.keys.waiting(priority)
    step = max(PAGE, count // SAMPLES)
    seen: list[Listed] = []
    for first in range(0, count, step)[:SAMPLES]:
        seen += await listing.page(
            connection.writer, connection.keys, index, first, first + PAGE - 1
        )
    return seen


def _kind(listed: Listed) -> tuple[str, str, str]:
    return listed.task, listed.model, listed.tenant


def _classes(
    waiting: Mapping[Priority, Waiting], begun_per_s: Mapping[Priority, float], now_ms: int
) -> list[ClassOf]:
    """Those of a class and of the ones above it are ahead of a new request."""
    classes, ahead, per_s = [], 0, 0.0
    for priority in Priority:
        each = waiting[priority]
        ahead += each.count
        per_s += begun_per_s[priority]
        expected_s = 0.0 if not ahead else (ahead / per_s if per_s else None)
        oldest_s = None if each.oldest_ms is None else max(0, now_ms - each.oldest_ms) / 1000
        classes.append(ClassOf(priority, each.count, oldest_s, expected_s))
    return classes


def _nodes(beats: Iterable[NodeHeartbeat], flying: Mapping[str, int]) -> list[Node]:
    slots = {beat.node: sum(each.slots for each in beat.resident) for beat in beats}
    names = sorted({*slots, *flying})
    return [Node(name, flying.get(name, 0), slots.get(name, 0)) for name in names]


def document(queue: Queue) -> dict[str, Any]:
    return {
        "waiting": sum(each.waiting for each in queue.classes),
        "classes": [vars(each) for each in queue.classes],
        "kinds": [vars(each) for each in queue.kinds],
        "kinds_sampled": queue.sampled,
        "nodes": [vars(each) for each in queue.nodes],
    }
