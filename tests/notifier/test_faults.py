"""Whatever is killed, cut off or down: all is delivered, once per id, and holds up nobody."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from services.notifier.webhook import Caller, Parcel
from shared.events.notifications import NotificationDelivered, NotificationFailed
from shared.events.operations import DeadLetter
from tests.fakes.processes import Processes
from tests.fakes.receiver import Delivery, Receiver, receiving, status
from tests.notifier.desk import SOON_S, Desk, endpoint, notifier
from tests.servers import Store
from tests.waiting import until

MANY = [f"r{number}" for number in range(60)]


def descriptors() -> int:
    return psutil.Process().num_fds()


def requests(receiver: Receiver) -> set[str]:
    return {delivery.document["data"]["request_id"] for delivery in receiver.accepted}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path)
    yield processes
    processes.end()


async def test_a_receiver_that_is_down_hears_of_everything_once_it_is_back(
    desk: Desk, receiver: Receiver
) -> None:
    receiver.conduct = status(503)
    await desk.configure(n8n=endpoint(receiver, retry_s=[0.2] * 300))
    await desk.start()
    await desk.complete(*MANY)
    await until(lambda: len(receiver.received) > 2 * len(MANY), SOON_S)
    await receiver.stop()
    await asyncio.sleep(0.5)

    receiver.conduct = "ok"
    await receiver.start()

    await until(lambda: desk.settled("n8n"), SOON_S)
    assert requests(receiver) == {*MANY}
    assert len(receiver.ids) == len(set(receiver.ids)) == len(MANY)
    assert await desk.said(DeadLetter) == []


@pytest.mark.parametrize("conduct", ["hangs", "trickles", "resets"])
async def test_an_endpoint_that_fails_holds_up_no_other(
    desk: Desk, receiver: Receiver, conduct: str
) -> None:
    async with receiving(conduct) as bad:
        await desk.configure(
            bad=endpoint(bad, timeout_s=5.0, retry_s=[60.0]), good=endpoint(receiver)
        )
        await desk.start()

        await desk.complete(*MANY)

        await until(lambda: requests(receiver) == {*MANY}, SOON_S)
        assert bad.accepted == []


async def test_a_notification_that_fails_holds_up_no_other_of_its_endpoint(
    desk: Desk, receiver: Receiver
) -> None:
    def dislikes_odd_ones(delivery: Delivery) -> str | bytes:
        number = int(delivery.document["data"]["request_id"][1:])
        return status(500) if number % 2 else "ok"

    receiver.decide = dislikes_odd_ones
    await desk.configure(n8n=endpoint(receiver, retry_s=[60.0]))
    await desk.start()

    await desk.complete(*MANY)

    await until(lambda: requests(receiver) == {*MANY[::2]}, SOON_S)
    assert await desk.said(NotificationFailed) == []


async def test_a_killed_notifier_loses_nothing_and_its_successor_keeps_the_ids(
    desk: Desk, receiver: Receiver, processes: Processes, own_store: Store
) -> None:
    await desk.configure(n8n=endpoint(receiver, timeout_s=0.5))
    receiver.next.extend(["hangs"] * 4)
    victim = processes.start(notifier, own_store.url)
    await desk.complete(*MANY)
    await until(lambda: receiver.received, SOON_S)
    victim.kill()
    in_flight = {delivery.id for delivery in receiver.received}

    processes.start(notifier, own_store.url)

    await until(lambda: desk.settled("n8n"), SOON_S)
    assert requests(receiver) == {*MANY}
    assert len(set(receiver.ids)) == len(MANY)
    assert in_flight <= set(receiver.ids)
    assert len(await desk.said(NotificationDelivered)) == len(MANY)


async def test_two_notifiers_share_the_work_and_tell_nobody_twice(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.configure(n8n=endpoint(receiver, concurrency=2))
    await desk.start("first")
    await desk.start("second")

    await desk.complete(*MANY)

    await until(lambda: desk.settled("n8n"), SOON_S)
    assert requests(receiver) == {*MANY}
    assert len(receiver.ids) == len(MANY)
    assert receiver.most_at_a_time <= 4


async def test_a_stop_gives_back_what_is_under_way(
    desk: Desk, receiver: Receiver, processes: Processes, own_store: Store
) -> None:
    await desk.configure(n8n=endpoint(receiver, timeout_s=50.0))
    receiver.next.append("hangs")
    first = processes.start(notifier, own_store.url)
    await desk.complete("r1")
    await until(lambda: receiver.received, SOON_S)

    assert first.terminate() == 0
    processes.start(notifier, own_store.url)

    # Sooner than its lease of a minute ends.
    await until(lambda: receiver.accepted, SOON_S)
    assert {delivery.id for delivery in receiver.received} == {receiver.ids[0]}
    [delivered] = await desk.has(NotificationDelivered)
    assert delivered["attempts"] == 2


async def test_a_store_that_is_killed_costs_nothing(
    desk: Desk, receiver: Receiver, own_store: Store
) -> None:
    await desk.configure(n8n=endpoint(receiver))
    service = await desk.start()
    await desk.complete(*MANY)
    # What AOF everysec has not yet written would be lost to anybody.
    await desk.client.execute_command("WAITAOF", 1, 0, 2000)
    await until(lambda: len(receiver.accepted) > 5, SOON_S)

    own_store.kill()
    await until(lambda: not service.readiness()["ready"], SOON_S)
    own_store.start()

    await until(lambda: service.readiness()["ready"], SOON_S)
    await until(lambda: desk.settled("n8n"), SOON_S)
    assert requests(receiver) == {*MANY}
    assert len(set(receiver.ids)) == len(MANY)


async def test_a_flushed_store_is_served_on(desk: Desk, receiver: Receiver) -> None:
    await desk.configure(n8n=endpoint(receiver))
    service = await desk.start()
    await desk.complete("r1")
    await until(lambda: requests(receiver) == {"r1"}, SOON_S)

    await desk.client.flushall()
    await desk.apply()
    await until(lambda: service.readiness()["ready"], SOON_S)
    await desk.complete("r2")

    await until(lambda: requests(receiver) == {"r1", "r2"}, SOON_S)


async def test_an_endpoint_that_is_removed_and_comes_back_gets_what_had_been_queued(
    desk: Desk, receiver: Receiver
) -> None:
    receiver.conduct = status(500)
    await desk.configure(n8n=endpoint(receiver, retry_s=[0.3] * 200))
    service = await desk.start()
    await desk.complete("r1")
    await until(lambda: receiver.received, SOON_S)
    kept = desk.endpoints.pop("n8n")
    await desk.apply()
    await until(lambda: not service.bus.config.endpoints, SOON_S)
    receiver.conduct = "ok"
    await desk.complete("meanwhile")

    await desk.configure(n8n=kept)
    await until(lambda: receiver.accepted, SOON_S)

    await until(lambda: desk.settled("n8n"), SOON_S)
    assert requests(receiver) == {"r1"}


def test_receivers_that_hang_cost_no_descriptors() -> None:
    async def story() -> tuple[int, int]:
        async with receiving("hangs") as receiver:
            hanging = endpoint(receiver, timeout_s=0.05)
            tls = endpoint(receiver, timeout_s=0.05, url=receiver.url.replace("http", "https"))
            caller, parcel = Caller(), Parcel(b"{}", {}, "public")
            await caller.call("n8n", hanging, parcel)
            await caller.call("n8n", tls, parcel)
            before = descriptors()
            for _ in range(10):
                await caller.call("n8n", hanging, parcel)
                await caller.call("n8n", tls, parcel)
            await receiver.stop()
            return before, descriptors()

    before, after = asyncio.run(story())
    assert after <= before
