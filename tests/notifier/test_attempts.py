"""What becomes of a notification that a receiver does not take, or not now."""

import pytest
from standardwebhooks import Webhook

from shared.events.notifications import NotificationDelivered, NotificationFailed
from shared.events.operations import AlertRaised, AlertResolved, DeadLetter
from tests.fakes.receiver import CONDUCTS, Receiver, status
from tests.notifier.desk import SECRET, SOON_S, Desk, endpoint
from tests.waiting import until


@pytest.mark.parametrize("conduct", [each for each in CONDUCTS if each not in ("ok", "floods")])
async def test_after_any_failure_it_is_tried_again_under_the_same_id(
    desk: Desk, receiver: Receiver, conduct: str
) -> None:
    receiver.next.extend([conduct, conduct])
    await desk.configure(n8n=endpoint(receiver, timeout_s=2.0))
    await desk.start()

    await desk.complete("r1")

    await until(lambda: receiver.accepted, SOON_S)
    assert len(receiver.received) == 3
    assert {delivery.id for delivery in receiver.received} == {receiver.accepted[0].id}
    assert len({delivery.body for delivery in receiver.received}) == 1
    for delivery in receiver.received:
        Webhook(SECRET).verify(delivery.body, delivery.headers)
    [delivered] = await desk.has(NotificationDelivered)
    assert delivered["attempts"] == 3


@pytest.mark.parametrize("code", [301, 400, 404, 500])
async def test_after_the_last_attempt_it_is_a_dead_letter(
    desk: Desk, receiver: Receiver, code: int
) -> None:
    receiver.conduct = status(code, location=receiver.url)
    await desk.configure(n8n=endpoint(receiver, events=["inference.completed"]))
    await desk.start()

    await desk.complete("r1")

    [failed] = await desk.has(NotificationFailed)
    assert (failed["reason"], failed["status"], failed["attempts"]) == ("status", code, 4)
    assert failed["message"] == f"HTTP {code}"
    [letter] = await desk.said(DeadLetter)
    assert letter["origin"] == "notification.queued.v1:n8n"
    assert letter["reason"] == f"status: HTTP {code}"
    assert len(receiver.received) == 4
    await until(lambda: desk.settled("n8n"), SOON_S)


async def test_two_endpoints_that_are_down_do_not_tell_each_other_for_ever(
    desk: Desk, receiver: Receiver
) -> None:
    receiver.conduct = status(500)
    down = endpoint(receiver, retry_s=[0.01])
    await desk.configure(n8n=down, pager=down)
    await desk.start()

    await desk.complete("r1")

    # Two about the completion, and one each about the other's; then it is quiet.
    await desk.has(DeadLetter, 4)
    await until(lambda: desk.settled("n8n"), SOON_S)
    await until(lambda: desk.settled("pager"), SOON_S)
    assert len(await desk.said(DeadLetter)) == 4


async def test_who_says_when_is_left_alone_and_nothing_is_charged(
    desk: Desk, receiver: Receiver
) -> None:
    receiver.next.append(status(429, retry_after="1"))
    await desk.configure(n8n=endpoint(receiver, retry_s=[], concurrency=1))
    await desk.start()

    await desk.complete("r1", "r2")

    await until(lambda: len(receiver.accepted) == 2, SOON_S)
    assert [each.document["data"]["request_id"] for each in receiver.received] == ["r1", "r1", "r2"]
    assert await desk.said(NotificationFailed) == []


async def test_who_is_gone_hears_nothing_until_the_configuration_changes(
    desk: Desk, receiver: Receiver
) -> None:
    receiver.next.append(status(410))
    await desk.configure(n8n=endpoint(receiver))
    await desk.start()
    await desk.complete("r1")
    [alert] = await desk.has(AlertRaised)
    await desk.complete("r2")

    await desk.configure(n8n=endpoint(receiver, timeout_s=3.0))

    await until(lambda: len(receiver.accepted) == 2, SOON_S)
    assert alert["alert"] == "endpoint_off:n8n"
    assert len(receiver.received) == 3
    assert len(await desk.said(AlertResolved)) == 1


async def test_without_its_secret_nothing_is_sent_and_an_alert_says_so(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.configure(n8n=endpoint(receiver, secret_env="TEST_UNSET"))
    await desk.start()
    await desk.complete("r1")
    [alert] = await desk.has(AlertRaised)

    await desk.configure(n8n=endpoint(receiver))

    await until(lambda: receiver.accepted, SOON_S)
    assert alert["alert"] == "endpoint_unusable:n8n"
    assert "TEST_UNSET is not set here" in alert["summary"]
    assert len(receiver.received) == 1
    await desk.has(AlertResolved)


async def test_a_secret_that_is_there_after_a_restart_resolves_what_was_said_before_it(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.configure(n8n=endpoint(receiver, secret_env="TEST_LATE"))
    first = await desk.start()
    await desk.has(AlertRaised)
    await first.stop()
    desk.services.remove(first)

    monkeypatch.setenv("TEST_LATE", SECRET)
    second = await desk.start("second")
    await desk.has(AlertResolved)
    await second.stop()
    desk.services.remove(second)

    await desk.start("third")
    await desk.complete("r1")
    await until(lambda: receiver.accepted, SOON_S)
    assert len(await desk.said(AlertResolved)) == 1
