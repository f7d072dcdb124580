"""The first workflow on a real n8n. `make test-n8n` installs one; without it this is skipped."""

import pytest

from tests.n8n.office import ANSWER, OLD_SECRET, Delivery, Office, needs_n8n

pytestmark = needs_n8n


async def test_a_completion_is_mailed_and_archived_before_the_answer(office: Office) -> None:
    delivery = Delivery()

    answer = await office.take(delivery)

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"status": "archived", "id": delivery.id}
    (mail,) = office.mails
    assert mail["to"] == "team@example.org"
    assert mail["subject"] == "assess 0199a3c41b7e8f2c90d14a6be0000001"
    report = mail.get_content().replace("\r\n", "\n")
    assert ANSWER in report
    assert "| Model | qwen-7b on gpu-1 (llama_cpp) |" in report
    assert (office.archived(delivery) or "").strip() == report.strip()


async def test_what_comes_twice_is_mailed_once(office: Office) -> None:
    delivery = Delivery()

    first, second = await office.take(delivery), await office.take(delivery)

    assert first.json()["status"] == "archived"
    assert (second.status_code, second.json()["status"]) == (200, "nothing to do")
    assert len(office.mails) == 1


async def test_what_failed_on_the_way_is_done_when_it_comes_again(office: Office) -> None:
    delivery = Delivery()
    office.post.refusing = True

    refused = await office.take(delivery)

    assert refused.status_code == 500
    assert office.archived(delivery) is None
    office.post.refusing = False
    assert (await office.take(delivery)).json()["status"] == "archived"
    assert len(office.mails) == 1


@pytest.mark.parametrize(
    ("delivery", "body"),
    [
        pytest.param(Delivery(), Delivery().body.replace("High", "Low"), id="another body"),
        pytest.param(Delivery(secret="whsec_" + "eHh4" * 8), None, id="another secret"),
        pytest.param(Delivery(age_s=400), None, id="too old"),
        pytest.param(Delivery(age_s=-400), None, id="from the future"),
        pytest.param(Delivery(type="inference.failed"), None, id="another event"),
    ],
)
async def test_what_is_not_from_the_notifier_changes_nothing(
    office: Office, delivery: Delivery, body: str | None
) -> None:
    answer = await office.take(delivery, body)

    assert answer.status_code == 500
    assert not office.mails
    assert office.archived(delivery) is None


async def test_the_secret_that_is_being_replaced_still_counts(office: Office) -> None:
    assert (await office.take(Delivery(secret=OLD_SECRET))).json()["status"] == "archived"


async def test_a_test_of_the_endpoint_mails_nothing(office: Office) -> None:
    answer = await office.take(Delivery(type="notification.test"))

    assert (answer.status_code, answer.json()["status"]) == (200, "nothing to do")
    assert not office.mails


async def test_what_is_confidential_stays_out_of_the_mail(office: Office) -> None:
    delivery = Delivery(request={"dataclass": "confidential"})

    await office.take(delivery)

    (mail,) = office.mails
    assert ANSWER not in mail.get_content()
    assert ANSWER in (office.archived(delivery) or "")


async def test_a_request_of_which_little_is_known_is_reported_too(office: Office) -> None:
    unknown = dict.fromkeys(("task", "priority", "principal", "dataclass"))

    answer = await office.take(Delivery(request=unknown))

    assert answer.json()["status"] == "archived"
    assert office.mails[0]["subject"].startswith("Result ")
