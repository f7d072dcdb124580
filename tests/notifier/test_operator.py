"""What an operator asks of the notifier: a test now, and telling somebody again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.bus.envelope import envelope
from shared.bus.ids import random_id
from shared.bus.replies import Replies, ReplyFinal
from shared.bus.tail import tail
from shared.events.base import Event
from shared.events.notifications import (
    NotificationDelivered,
    NotificationFailed,
    NotificationQueued,
    NotificationRedeliveryRequested,
    NotificationTestRequested,
)
from shared.events.operations import AlertRaised, AlertResolved, DeadLetter
from tests.fakes.receiver import Receiver, status
from tests.notifier.desk import KEYS, SOON_S, Desk, endpoint
from tests.waiting import until

REPLYTO = "operator"


class Operator:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.replies = Replies()

    async def ask(self, command: Event) -> ReplyFinal:
        command_id = random_id()
        stream = self.replies.open(command_id, chunks=False)
        fields = [*envelope(command, "test", event_id=command_id), "replyto", REPLYTO]
        await self._desk.client.execute_command("XADD", KEYS.stream(type(command)), "*", *fields)
        async with asyncio.timeout(SOON_S):
            reply = await stream.get()
        assert isinstance(reply, ReplyFinal)
        return reply

    async def redeliver(self, **which: Any) -> dict[str, Any]:
        command = NotificationRedeliveryRequested(endpoint="n8n", **which)
        return (await self.ask(command)).data


@pytest.fixture
async def operator(desk: Desk) -> AsyncIterator[Operator]:
    operator = Operator(desk)
    hears = {KEYS.reply(REPLYTO): operator.replies.on_entries}
    listening = asyncio.create_task(tail(desk.client, hears, lookback_s=0))
    yield operator
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


TEST = NotificationTestRequested(endpoint="n8n")


async def test_a_test_says_what_the_receiver_answered(
    desk: Desk, receiver: Receiver, operator: Operator
) -> None:
    await desk.configure(n8n=endpoint(receiver))
    await desk.start()

    good = await operator.ask(TEST)
    receiver.conduct = status(500)
    bad = await operator.ask(TEST)
    await receiver.stop()
    nobody = await operator.ask(TEST)

    assert (good.data["ok"], good.data["status"]) == (True, 204)
    assert good.data["duration_ms"] >= 0
    assert (bad.data["ok"], bad.data["status"]) == (False, 500)
    assert (nobody.data["ok"], nobody.data["reason"]) == (False, "refused")
    assert [each.document["type"] for each in receiver.received] == ["notification.test"] * 2
    assert await desk.said(NotificationDelivered) == []


async def test_a_test_of_what_is_not_configured_says_so(
    desk: Desk, receiver: Receiver, operator: Operator
) -> None:
    await desk.configure(n8n=endpoint(receiver, secret_env="TEST_UNSET"))
    await desk.start()

    unknown = await operator.ask(NotificationTestRequested(endpoint="n9n"))
    without_secret = await operator.ask(TEST)

    assert unknown.outcome == "unknown_endpoint"
    assert "there are: n8n" in unknown.data["message"]
    assert without_secret.data["reason"] == "no_secret"
    assert "TEST_UNSET" in without_secret.data["message"]
    assert receiver.received == []


async def test_a_good_test_switches_an_endpoint_on_again(
    desk: Desk, receiver: Receiver, operator: Operator
) -> None:
    receiver.next.append(status(410))
    await desk.configure(n8n=endpoint(receiver))
    await desk.start()
    await desk.complete("r1")
    await desk.has(AlertRaised)

    receiver.next.append(status(500))
    assert not (await operator.ask(TEST)).data["ok"]
    assert receiver.accepted == []
    assert (await operator.ask(TEST)).data["ok"]

    await until(lambda: len(receiver.accepted) == 2, SOON_S)
    assert receiver.accepted[1].document["data"]["request_id"] == "r1"
    assert len(await desk.said(AlertResolved)) == 1


async def test_dead_letters_are_delivered_again_under_their_ids(
    desk: Desk, receiver: Receiver, operator: Operator
) -> None:
    receiver.conduct = status(500)
    await desk.configure(n8n=endpoint(receiver, retry_s=[], events=["inference.completed"]))
    await desk.start()
    await desk.complete("r1", "r2")
    await desk.has(NotificationFailed, 2)
    tried = {delivery.id for delivery in receiver.received}
    receiver.conduct = "ok"

    answer = await operator.redeliver(failed=True)

    assert answer == {"queued": 2, "waiting": 0}
    await until(lambda: set(receiver.ids) == tried, SOON_S)
    assert await desk.said(DeadLetter) == []
    assert await operator.redeliver(failed=True) == {"queued": 0, "waiting": 0}


async def test_everything_since_then_is_delivered_again_and_what_waits_is_not_doubled(
    desk: Desk, receiver: Receiver, operator: Operator
) -> None:
    await desk.configure(n8n=endpoint(receiver, retry_s=[1000.0]))
    await desk.start()
    await desk.complete("r1", "r2")
    await until(lambda: len(receiver.accepted) == 2, SOON_S)
    await until(lambda: desk.settled("n8n"), SOON_S)
    first = list(receiver.ids)
    receiver.next.append(status(500))
    await desk.complete("r3")
    await until(lambda: len(receiver.received) == 3, SOON_S)

    answer = await operator.redeliver(since_ms=0)

    assert answer == {"queued": 2, "waiting": 1}
    await until(lambda: len(receiver.accepted) == 4, SOON_S)
    assert sorted(receiver.ids[2:]) == sorted(first)
    future_ms = 1000 * 1000 * 1000 * 10_000
    assert await operator.redeliver(since_ms=future_ms) == {"queued": 0, "waiting": 0}


async def test_what_no_notifier_has_read_yet_is_not_doubled_either(
    desk: Desk, receiver: Receiver, operator: Operator
) -> None:
    receiver.next.append(status(410))
    await desk.configure(n8n=endpoint(receiver))
    await desk.start()
    await desk.complete("r1")
    await until(lambda: len(receiver.received) == 1, SOON_S)
    await desk.complete("r2", "r3")

    async def all_are_queued() -> bool:
        return len(await desk.said(NotificationQueued, "n8n")) == 3

    await until(all_are_queued, SOON_S)

    assert await operator.redeliver(since_ms=0) == {"queued": 0, "waiting": 3}


async def test_one_notification_is_delivered_again_by_its_id_also_from_a_dead_letter(
    desk: Desk, receiver: Receiver, operator: Operator
) -> None:
    await desk.configure(n8n=endpoint(receiver, retry_s=[], events=["inference.completed"]))
    await desk.start()
    await desk.complete("r1", "r2")
    await until(lambda: len(receiver.accepted) == 2, SOON_S)
    await until(lambda: desk.settled("n8n"), SOON_S)
    one = receiver.ids[0]

    assert await operator.redeliver(notification_id=one) == {"queued": 1, "waiting": 0}
    await until(lambda: receiver.ids[2:] == [one], SOON_S)
    assert await operator.redeliver(notification_id="unknown") == {"queued": 0, "waiting": 0}

    receiver.conduct = status(500)
    await desk.complete("r3")
    await desk.has(NotificationFailed)
    lost, receiver.conduct = receiver.received[-1].id, "ok"
    await desk.client.delete(KEYS.stream(NotificationQueued, "n8n"))
    assert await operator.redeliver(notification_id=lost) == {"queued": 1, "waiting": 0}
    await until(lambda: receiver.ids[3:] == [lost], SOON_S)


async def test_a_command_that_names_no_reply_stream_is_carried_out(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.configure(n8n=endpoint(receiver))
    await desk.start()

    await desk.say(TEST)

    await until(lambda: receiver.accepted, SOON_S)
