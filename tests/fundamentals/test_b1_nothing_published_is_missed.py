"""B1: nothing published is missed.

A group begins at the beginning of its stream, whenever it is created: before anything was ever
read, after it was lost, after the whole store was. What is retained is then delivered again.
"""

import asyncio
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError

from shared.bus.configuration import store_configuration
from shared.bus.keys import Keys
from tests.conftest import each_store
from tests.fakes.processes import Processes, router, worker
from tests.fakes.proxy import lossy_proxy
from tests.fundamentals.parcels import POSTED, arrive, office, post
from tests.fundamentals.tour import FAST, Open
from tests.servers import Store
from tests.waiting import until

pytestmark = each_store

Client = redis.asyncio.Redis

SLOW_TO_LOAD = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")


async def test_what_was_published_before_the_first_start_is_delivered(
    configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    await post(configured, "early", "bird")

    await opened(office(**settings))

    await arrive(configured, "early", "bird")


async def test_a_lost_group_is_created_again_at_the_beginning(
    configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    await opened(office(**settings))
    await post(configured, "first")
    await arrive(configured, "first")

    await configured.xgroup_destroy(POSTED, "post")
    await post(configured, "second")

    await arrive(configured, "first", "first", "second")


async def test_a_service_outlives_the_loss_of_all_data(
    configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    await opened(office(**settings))
    await post(configured, "lost")
    await arrive(configured, "lost")

    await configured.flushall()
    await post(configured, "found")

    await arrive(configured, "found")


async def test_a_service_may_be_started_before_its_store(
    own_store: Store, redis_client: Client, opened: Open, settings: dict[str, Any]
) -> None:
    own_store.kill()

    starting = asyncio.create_task(opened(office(**settings)))
    await asyncio.sleep(0)
    assert not starting.done()
    own_store.start()
    await store_configuration(redis_client, Keys(), FAST, "tour")
    await post(redis_client, "patient")

    await starting
    await arrive(redis_client, "patient")


async def test_start_up_waits_while_the_store_reads_its_files(
    own_store: Store, configured: Client, processes: Processes
) -> None:
    """A large append-only file is read for minutes; here each key takes a millisecond."""
    await post(configured, "stored")
    await fill_with_keys(configured, 1500)
    own_store.kill()
    own_store.options = SLOW_TO_LOAD

    starting = asyncio.create_task(asyncio.to_thread(own_store.start))
    await until(lambda: is_loading(own_store))
    child = processes.start(office, own_store.url)

    await arrive(configured, "stored", timeout_s=10)
    assert child.process.is_alive()
    await starting


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_start_up_survives_a_network_that_loses_every_fourth_reply(
    own_store: Store, configured: Client, opened: Open, settings: dict[str, Any], seed: int
) -> None:
    await post(configured, "shaken")

    async with lossy_proxy(own_store.port, loss=0.25, seed=seed) as network:
        shaken = settings | {"redis_url": network.url}
        services = [office(**shaken), router(**shaken), worker(models=("echo",), slots=1, **shaken)]
        await asyncio.gather(*[opened(service) for service in services])
        network.loss = 0

        await arrive(configured, "shaken", timeout_s=10)
        await until(lambda: all(service.readiness()["ready"] for service in services))
        await until(lambda: services[1].role() == "active")
    assert network.cut


async def fill_with_keys(client: Client, count: int) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(count):
        pipeline.set(f"key:{number}", number)
    await pipeline.execute()
    await client.bgrewriteaof()
    await until(lambda: rewritten(client))


async def rewritten(client: Client) -> bool:
    info: Any = await client.info("persistence")
    return not info["aof_rewrite_in_progress"] and info["aof_last_bgrewrite_status"] == "ok"


async def is_loading(store: Store) -> bool:
    client = redis.asyncio.Redis.from_url(store.url, retry=Retry(NoBackoff(), 0))
    try:
        await client.ping()
    except BusyLoadingError:
        return True
    except redis.exceptions.ConnectionError:
        return False
    finally:
        await client.aclose()
    raise AssertionError("the store had read its files before anybody could see it loading")
