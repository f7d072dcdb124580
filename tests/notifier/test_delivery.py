"""What happens reaches its receivers, signed, and is settled."""

import asyncio

import pytest
import structlog
from standardwebhooks import Webhook

from shared.bus.ids import derived_id
from shared.config import EndpointConfig
from shared.events.inference import (
    FailureReason,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRejected,
)
from shared.events.models import NodeLost
from shared.events.notifications import (
    NotificationDelivered,
    NotificationFailed,
    NotificationQueued,
)
from shared.events.operations import DeadLetter
from tests.bus.facts import REQUEST
from tests.bus.scene import Scene
from tests.fakes.receiver import Receiver, receiving, status
from tests.notifier.desk import KEYS, SECRET, SOON_S, Desk, completed, endpoint
from tests.waiting import until

FAILED = InferenceFailed(request_id="r2", reason=FailureReason.HUNG, message="why", attempts=3)
CANCELLED = InferenceCancelled(request_id="r3", message="asked")
REJECTED = InferenceRejected(request_id="r4", reason=FailureReason.SATURATED, message="full")
LETTER = DeadLetter(origin="a.v1", entry="1-1", group="router", reason="bad", deliveries=5)


async def test_a_completion_arrives_signed_and_says_whose_it_was(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.configure(n8n=endpoint(receiver))
    await desk.start()

    await desk.complete("r1", task="report", priority="HIGH", principal="local")

    [delivery] = await until(lambda: receiver.accepted, SOON_S)
    Webhook(SECRET).verify(delivery.body, delivery.headers)
    document = delivery.document
    assert document.keys() == {"type", "timestamp", "data"}
    assert document["type"] == "inference.completed"
    assert document["data"]["output"]["choices"]
    assert document["data"]["request"] == {
        "id": "r1",
        "task": "report",
        "priority": "HIGH",
        "principal": "local",
        "tenant": None,
        "dataclass": "internal",
        "model": "m",
    }
    await until(lambda: desk.settled("n8n"), SOON_S)
    [delivered] = await desk.said(NotificationDelivered)
    assert (delivered["endpoint"], delivered["status"], delivered["attempts"]) == ("n8n", 204, 1)
    assert "output" not in str(delivered)


async def test_every_end_of_a_request_and_a_dead_letter_is_told(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.configure(n8n=endpoint(receiver))
    await desk.start()

    for event in (completed("r1"), FAILED, CANCELLED, REJECTED, LETTER):
        await desk.say(event)

    await until(lambda: len(receiver.accepted) == 5, SOON_S)
    told = {delivery.document["type"]: delivery.document["data"] for delivery in receiver.accepted}
    assert told.keys() == {
        *("inference.completed", "inference.failed", "inference.cancelled"),
        *("inference.rejected", "dead_letter"),
    }
    assert told["inference.failed"]["reason"] == "hung"
    assert told["inference.rejected"]["request"]["id"] == "r4"
    assert told["dead_letter"]["request"] is None
    assert told["dead_letter"]["letter"]


async def test_the_original_fields_of_a_dead_letter_stay_inside(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.configure(n8n=endpoint(receiver))
    await desk.start()

    await desk.say(LETTER, {"x-data": "a secret prompt"})

    [delivery] = await until(lambda: receiver.accepted, SOON_S)
    assert b"secret prompt" not in delivery.body


async def test_each_endpoint_hears_of_what_it_asked_for(desk: Desk, receiver: Receiver) -> None:
    async with receiving() as pager:
        await desk.configure(
            n8n=endpoint(receiver, tasks=["report"], events=["inference.completed"]),
            pager=endpoint(pager, events=["inference.failed"]),
        )
        await desk.start()

        await desk.complete("r1", task="report")
        await desk.complete("r9", task="chat")
        await desk.say(FAILED)

        await until(lambda: receiver.accepted and pager.accepted, SOON_S)
        await until(lambda: desk.settled("n8n"), SOON_S)
    assert [each.document["data"]["request_id"] for each in receiver.accepted] == ["r1"]
    assert [each.document["data"]["request_id"] for each in pager.accepted] == ["r2"]


async def test_an_endpoint_does_not_hear_of_what_was_before_it(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.apply()
    await desk.complete("old")
    await asyncio.sleep(0.002)  # within a millisecond nothing is before anything else
    await desk.configure(n8n=endpoint(receiver))
    await desk.complete("new")
    await desk.start()

    await until(lambda: receiver.accepted, SOON_S)

    assert [each.document["data"]["request_id"] for each in receiver.received] == ["new"]


async def test_what_happened_while_no_notifier_ran_is_told(desk: Desk, receiver: Receiver) -> None:
    await desk.configure(n8n=endpoint(receiver))
    await desk.complete(*(f"r{number}" for number in range(20)))

    await desk.start()

    await until(lambda: len(receiver.accepted) == 20, SOON_S)


async def test_nothing_is_passed_over_before_the_configuration_is_known(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.start()
    await desk.complete("r1")
    stream = KEYS.stream(InferenceCompleted)

    async def read() -> bool:
        [group] = await desk.client.xinfo_groups(stream)
        return bool(group["entries-read"] and group["pending"])

    await until(read, SOON_S)
    await desk.configure(n8n=endpoint(receiver))

    await until(lambda: receiver.accepted, SOON_S)


async def test_an_endpoint_that_is_added_later_needs_no_restart(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.apply()
    service = await desk.start()
    await until(lambda: service.readiness()["ready"], SOON_S)

    await desk.configure(n8n=endpoint(receiver))
    await until(lambda: "n8n" in service.bus.config.endpoints, SOON_S)
    await desk.complete("r1")

    await until(lambda: receiver.accepted, SOON_S)


async def test_a_notification_has_the_same_id_for_the_same_event_and_endpoint(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.configure(n8n=endpoint(receiver), other=endpoint(receiver))
    await desk.start()

    event_id = await desk.say(completed("r1"))

    await until(lambda: len(receiver.accepted) == 2, SOON_S)
    assert set(receiver.ids) == {
        derived_id(NotificationQueued.type, event_id, name) for name in ("n8n", "other")
    }


async def test_an_id_of_a_request_that_is_used_again_is_told_under_another_webhook_id(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.configure(n8n=endpoint(receiver))
    await desk.start()

    async with Scene(desk.client, KEYS) as scene:
        for number in (1, 2):
            await scene.reach("completed")
            await desk.client.delete(KEYS.request(REQUEST), KEYS.result(REQUEST))
            await until(lambda expected=number: len(receiver.accepted) == expected, SOON_S)

    assert len(set(receiver.ids)) == 2


async def test_restricted_data_are_withheld_from_where_they_may_not_go(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.configure(n8n=endpoint(receiver, dataclasses=["internal"]))
    await desk.start()

    await desk.complete("r1", dataclass="restricted")
    await desk.complete("r2")

    [failed] = await desk.has(NotificationFailed)
    await until(lambda: receiver.accepted, SOON_S)
    assert failed["reason"] == "withheld"
    assert all(b'"r1"' not in delivery.body for delivery in receiver.received)


async def test_what_is_not_public_is_not_called_until_it_is_allowed(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.configure(n8n=endpoint(receiver, allow_private=[], retry_s=[0.2] * 100))
    await desk.start()
    await desk.complete("r1")

    async def tried() -> bool:
        (tries,) = await desk.client.hvals(KEYS.tries("n8n")) or [b"0 0"]
        return not tries.endswith(b" 0")

    await until(tried, SOON_S)
    assert receiver.received == []

    await desk.configure(n8n=endpoint(receiver))

    await until(lambda: receiver.accepted, SOON_S)


async def test_neither_secrets_nor_texts_are_logged(desk: Desk, receiver: Receiver) -> None:
    receiver.next.extend(["nonsense", status(500, x_token="hunter2")])
    await desk.configure(n8n=endpoint(receiver))

    with structlog.testing.capture_logs() as logs:
        await desk.start()
        await desk.complete("r1")
        await until(lambda: receiver.accepted, SOON_S)
        await until(lambda: desk.settled("n8n"), SOON_S)

    said = str(logs)
    assert "attempt" in said
    assert all(word not in said for word in ("hunter2", "secret answer", SECRET, SECRET[6:]))


async def test_other_events_are_nobody_s_business(desk: Desk, receiver: Receiver) -> None:
    await desk.configure(n8n=endpoint(receiver))
    await desk.start()

    await desk.say(NodeLost(node="n1", silent_ms=1))
    await desk.complete("r1")

    await until(lambda: receiver.accepted, SOON_S)
    assert [delivery.document["type"] for delivery in receiver.received] == ["inference.completed"]


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_attempts_at_a_time_than_configured(
    desk: Desk, receiver: Receiver, concurrency: int
) -> None:
    await desk.configure(n8n=endpoint(receiver, concurrency=concurrency))
    await desk.start()

    await desk.complete(*(f"r{number}" for number in range(30)))

    await until(lambda: len(receiver.accepted) == 30, SOON_S)
    assert receiver.most_at_a_time <= concurrency
    if concurrency == 1:
        told = [delivery.document["data"]["request_id"] for delivery in receiver.accepted]
        assert told == [f"r{number}" for number in range(30)]


def test_an_endpoint_needs_a_secret() -> None:
    with pytest.raises(ValueError, match="secret_env"):
        EndpointConfig.model_validate({"url": "https://example.org"})
