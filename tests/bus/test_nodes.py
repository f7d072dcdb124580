"""A node has one worker: the instance that holds its name says so, and nobody else."""

import pytest
from redis.asyncio import Redis

from shared.bus import nodes
from shared.bus.keys import Keys
from shared.bus.requests import FencedError
from shared.bus.writer import Writer
from shared.events.models import ModelUnloadRequested, NodeHeartbeat
from tests.bus.stored import read

NODE = "n1"
TTL_S = 6.0


def beat_of(instance: str) -> NodeHeartbeat:
    return NodeHeartbeat(node=NODE, instance=instance, inventory=(), resident=(), in_flight=0)


async def beats(client: Redis, keys: Keys) -> list[dict[str, str]]:
    stored, _ = await read(client, keys)
    return stored.events(NodeHeartbeat)


@pytest.mark.parametrize("holder", [None, "worker-1"], ids=["nobody", "itself"])
async def test_a_beat_keeps_the_name_and_is_heard(
    client: Redis, keys: Keys, writer: Writer, holder: str | None
) -> None:
    if holder:
        await client.set(keys.node(NODE), holder, ex=1)

    assert await nodes.beat(writer, keys, beat_of("worker-1"), TTL_S) is None

    [beat] = await beats(client, keys)
    assert await client.get(keys.node(NODE)) == b"worker-1"
    assert 5000 < await client.pttl(keys.node(NODE)) <= 6000
    assert NodeHeartbeat.model_validate_json(beat["data"]) == beat_of("worker-1")


async def test_every_beat_is_a_new_sample(client: Redis, keys: Keys, writer: Writer) -> None:
    await nodes.beat(writer, keys, beat_of("worker-1"), TTL_S)
    await nodes.beat(writer, keys, beat_of("worker-1"), TTL_S)

    assert len({beat["id"] for beat in await beats(client, keys)}) == 2


async def test_a_second_worker_of_the_same_name_is_told_who_holds_it(
    client: Redis, keys: Keys, writer: Writer
) -> None:
    await nodes.beat(writer, keys, beat_of("worker-1"), TTL_S)
    before = await read(client, keys)

    assert await nodes.beat(writer, keys, beat_of("worker-2"), TTL_S) == "worker-1"
    assert await nodes.occupy(writer, keys, NODE, "worker-2", TTL_S) == "worker-1"

    assert await read(client, keys) == before


async def test_a_name_outlives_its_worker_no_longer_than_ever_when_the_clock_was_set_back(
    client: Redis, keys: Keys, writer: Writer
) -> None:
    await client.set(keys.node(NODE), "worker-1", ex=3600)

    assert await nodes.occupy(writer, keys, NODE, "worker-2", TTL_S) == "worker-1"

    assert await client.pttl(keys.node(NODE)) <= 6000


@pytest.mark.parametrize(
    ("holder", "replaces", "told"),
    [
        (None, "", None),
        ("worker-2", "", None),
        ("worker-1", "worker-1", None),
        ("worker-1", "worker-0", "worker-1"),
        (None, "worker-1", None),
    ],
)
async def test_a_name_is_taken_silently_from_nobody_or_from_the_dead(
    client: Redis,
    keys: Keys,
    writer: Writer,
    holder: str | None,
    replaces: str,
    told: str | None,
) -> None:
    if holder:
        await client.set(keys.node(NODE), holder)

    for _ in range(2):
        answer = await nodes.occupy(writer, keys, NODE, "worker-2", TTL_S, replaces=replaces)
        assert answer == told

    assert await client.get(keys.node(NODE)) == (told or "worker-2").encode()
    assert await beats(client, keys) == []


async def test_a_worker_that_leaves_frees_the_name(
    client: Redis, keys: Keys, writer: Writer
) -> None:
    await nodes.beat(writer, keys, beat_of("worker-1"), TTL_S)

    await nodes.leave(writer, keys, NODE, "worker-1")

    assert await nodes.beat(writer, keys, beat_of("worker-2"), TTL_S) is None


async def test_a_worker_that_was_refused_does_not_take_the_name_along(
    client: Redis, keys: Keys, writer: Writer
) -> None:
    await nodes.beat(writer, keys, beat_of("worker-1"), TTL_S)

    await nodes.leave(writer, keys, NODE, "worker-2")

    assert await client.get(keys.node(NODE)) == b"worker-1"


async def test_a_command_is_given_once_and_only_by_the_leader(
    client: Redis, keys: Keys, writer: Writer
) -> None:
    fence, stream = keys.fence("model-manager"), keys.stream(ModelUnloadRequested, NODE)
    await client.set(fence, "2:leader")

    async def tell(token: str) -> None:
        unload = ModelUnloadRequested(model="m", reason="idle")
        await nodes.command(
            writer, keys, unload, NODE, ordinal="first", fence_key=fence, token=token
        )

    with pytest.raises(FencedError):
        await tell("1:leader")
    assert await client.xlen(stream) == 0
    await tell("2:leader")
    await tell("2:leader")
    assert await client.xlen(stream) == 1
