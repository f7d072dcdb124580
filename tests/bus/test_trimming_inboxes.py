"""Inboxes of producers that have streams of their own are cut like the shared one."""

from redis.asyncio import Redis

from shared.bus.keys import Keys
from shared.bus.trimming import trim
from shared.events.inference import InferenceRequested


async def test_what_the_router_settled_is_cut_with_its_large_body(
    client: Redis, keys: Keys
) -> None:
    inbox = keys.stream(InferenceRequested, "crm")
    for number in (1, 2):
        await client.set(keys.blob(f"b{number}"), "large")
        await client.xadd(inbox, {"dataref": f"b{number}"}, id=f"{number}-0")
    await client.xgroup_create(inbox, "router", id="0")
    await client.xreadgroup("router", "router", {inbox: ">"}, count=1)
    await client.xack(inbox, "router", "1-0")

    await trim(client, keys)
    assert await client.xlen(inbox) == 2, "nobody said whose that stream is"
    await trim(client, keys, producers=["crm", "silent"])

    assert await client.xrange(inbox) == [(b"2-0", {b"dataref": b"b2"})]
    assert not await client.exists(keys.blob("b1"))
    assert not await client.exists(keys.stream(InferenceRequested, "silent"))


async def test_a_key_that_is_no_stream_keeps_nothing_else_from_being_cut(
    client: Redis, keys: Keys
) -> None:
    await client.set(keys.stream(InferenceRequested, "crm"), "a string")
    inbox = keys.stream(InferenceRequested, "shop")
    await client.xadd(inbox, {"data": "{}"}, id="1-0")
    await client.xgroup_create(inbox, "router", id="$")

    await trim(client, keys, producers=["crm", "shop"])

    assert await client.xlen(inbox) == 0
