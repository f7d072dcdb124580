"""What a dead consumer left behind is taken over in one step, or not at all."""

from redis.asyncio import Redis

from shared.bus.connection import ensure_group
from shared.bus.dead_letters import DeadLetters
from shared.bus.holding import ATTEMPTS, Holding
from shared.bus.keys import Keys
from shared.bus.scripts import script
from shared.bus.writer import Writer
from shared.events.models import ModelActionRequested

GROUP = "model-manager"


async def left_by_the_dead(client: Redis, stream: str, count: int) -> list[str]:
    await ensure_group(client, stream, GROUP)
    ids = [await client.xadd(stream, {"data": str(number)}) for number in range(count)]
    await client.xreadgroup(GROUP, "dead", {stream: ">"})
    return [entry_id.decode() for entry_id in ids]


async def questions(client: Redis) -> int:
    """Commands that clients sent so far, but for those of this test."""
    return int((await client.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0))


async def test_everything_idle_is_taken_over_with_one_question(
    client: Redis, keys: Keys, writer: Writer
) -> None:
    stream = keys.stream(ModelActionRequested)
    ids = await left_by_the_dead(client, stream, 50)
    holding = Holding(writer, keys, stream, GROUP, "heir")
    await holding.take_over(client, idle_ms=10**9)
    asked = await questions(client)

    taken = await holding.take_over(client, idle_ms=0)

    assert [entry.id for entry in taken] == ids
    assert taken[7].fields == {b"data": b"7"}
    assert await questions(client) - asked == 1


async def test_what_is_held_here_already_is_no_heritage(
    client: Redis, keys: Keys, writer: Writer
) -> None:
    stream = keys.stream(ModelActionRequested)
    ids = await left_by_the_dead(client, stream, 2)
    holding = Holding(writer, keys, stream, GROUP, "heir")
    first, _ = await holding.take_over(client, idle_ms=0)
    holding.hold([first])

    assert [entry.id for entry in await holding.take_over(client, idle_ms=0)] == ids[1:]


async def test_what_outlived_too_many_consumers_is_buried(
    client: Redis, keys: Keys, writer: Writer
) -> None:
    stream = keys.stream(ModelActionRequested)
    await left_by_the_dead(client, stream, 1)
    holding = Holding(writer, keys, stream, GROUP, "heir")

    taken = [bool(await holding.take_over(client, idle_ms=0)) for _ in range(ATTEMPTS)]

    assert taken == [True] * (ATTEMPTS - 1) + [False]
    [letter] = [letter async for letter in DeadLetters(client, keys).all()]
    assert letter.letter.reason == "its consumers died while they handled it"


async def test_what_is_idle_and_named_too_is_taken_over_once(
    client: Redis, keys: Keys, writer: Writer
) -> None:
    stream = keys.stream(ModelActionRequested)
    idle, young = await left_by_the_dead(client, stream, 2)
    await client.xclaim(stream, GROUP, "dead", 0, [idle], idle=1000, justid=True)

    _, taken = await writer.run(
        script("take_over"),
        keys={"source": stream},
        args={"group": GROUP, "consumer": "heir", "idle_ms": 900, "most": 10},
        rest=[idle, young],
    )

    assert [(entry_id, deliveries) for entry_id, deliveries, _ in taken] == [
        (idle.encode(), 2),
        (young.encode(), 2),
    ]


async def test_an_entry_that_was_cut_meanwhile_is_nobodys_any_more(
    client: Redis, keys: Keys, writer: Writer
) -> None:
    stream = keys.stream(ModelActionRequested)
    ids = await left_by_the_dead(client, stream, 2)
    await client.xdel(stream, ids[0])

    taken = await Holding(writer, keys, stream, GROUP, "heir").take_over(client, idle_ms=0)

    assert [entry.id for entry in taken] == ids[1:]
