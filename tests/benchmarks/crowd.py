"""Many requests that wait, brought as producers bring them: the router admits them."""

import json
from functools import partial

from redis.asyncio import Redis

from shared.bus.envelope import attributes
from shared.bus.ids import random_id
from shared.bus.keys import Keys
from shared.events.base import Operation, Priority
from shared.events.inference import InferenceRequested
from tests.benchmarks.engine import HELD
from tests.benchmarks.orders import Shape, body
from tests.waiting import until

AT_ONCE = 50_000
"""Of which the inbox holds what the router has not taken yet."""

PATIENCE_S = 120.0


async def fill(redis_url: str, number: int) -> None:
    """Return once so many wait, and one more runs; all are of one kind, as a batch job's are."""
    async with Redis.from_url(redis_url) as store:
        for brought in range(0, number + 1, AT_ONCE):
            more = min(AT_ONCE, number + 1 - brought)
            await _bring(store, more)
            await until(partial(_wait, store, brought + more - 1), PATIENCE_S)
        await until(partial(_is_calm, store), PATIENCE_S)


async def _bring(store: Redis, number: int) -> None:
    pipe = store.pipeline(transaction=False)
    inbox = Keys().stream(InferenceRequested)
    for _ in range(number):
        pipe.execute_command("XADD", inbox, "*", *_entry())
    await pipe.execute()


async def _wait(store: Redis, number: int) -> bool:
    return int(await store.zcard(Keys().waiting(Priority.LOW))) >= number


async def _is_calm(store: Redis) -> bool:
    """Growing makes the store rewrite its log; that is over."""
    return not (await store.info("persistence"))["aof_rewrite_in_progress"]


def _entry() -> list[str | bytes]:
    request_id = random_id()
    data = json.dumps({"model": HELD, "input": body(Shape.PLAIN)})
    fields = attributes(InferenceRequested.type, request_id, "bench", request_id)
    fields += ["model", HELD, "operation", Operation.CHAT, "priority", Priority.LOW]
    return [*fields, "inputbytes", str(len(data)), "data", data]
