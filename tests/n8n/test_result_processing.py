"""The first workflow on a real n8n. `make test-n8n` installs one; without it this is skipped."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from standardwebhooks import Webhook

from tests.fakes.smtp import MailServer, mail_server
from tests.house.sources import ROOT
from tests.n8n.real import N8n
from tests.servers import free_port

WORKFLOW = ROOT / "n8n-workflows" / "01-result-processing.json"
EXAMPLE = ROOT / "shared/contracts/examples/inference.completed.v1/chat.json"
ANSWER = "High: root can be guessed from anywhere that reaches port 22."

OLD_SECRET = "whsec_" + "b2xk" * 8
SECRET = "whsec_" + "bmV3" * 8

program = Path(os.environ.get("N8N_PROGRAM", ""))

pytestmark = [
    pytest.mark.skipif(not program.is_file(), reason="no n8n here; make test-n8n installs one"),
    pytest.mark.timeout(300),
]


@dataclass
class Office:
    """n8n, the mail server that it sends to, and the archive that it writes."""

    n8n: N8n
    archive: Path
    mail_port: int
    post: MailServer = field(init=False)

    @property
    def mails(self) -> list[EmailMessage]:
        return self.post.mails

    def archived(self, delivery: "Delivery") -> str | None:
        file = self.archive / f"{delivery.id}.md"
        return file.read_text() if file.exists() else None

    async def take(self, delivery: "Delivery", body: str | None = None) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            return await client.post(
                self.n8n.url("roundhouse/results"),
                content=body or delivery.body,
                headers=delivery.headers(),
            )


@dataclass
class Delivery:
    """What the notifier sends, see docs/how-to/receive-webhooks.md."""

    type: str = "inference.completed"
    request: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid4()))
    secret: str = SECRET
    age_s: float = 0.0

    @property
    def body(self) -> str:
        request = {
            "id": "0199a3c41b7e8f2c90d14a6be0000001",
            "task": "assess",
            "priority": "HIGH",
            "principal": "local",
            "tenant": None,
            "dataclass": "internal",
            "model": "qwen-7b",
        } | self.request
        data = {**json.loads(EXAMPLE.read_text()), "request": request}
        return json.dumps(
            {"type": self.type, "timestamp": "2026-11-21T15:02:39.123Z", "data": data}
        )

    def headers(self) -> dict[str, str]:
        sent = datetime.now(UTC) - timedelta(seconds=self.age_s)
        return {
            "content-type": "application/json",
            "webhook-id": self.id,
            "webhook-timestamp": str(int(sent.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(self.id, sent, self.body),
        }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("n8n")
    archive = folder / "archive"
    archive.mkdir()
    mail_port = free_port()
    environment = {
        "N8N_BLOCK_ENV_ACCESS_IN_NODE": "false",
        "NODE_FUNCTION_ALLOW_BUILTIN": "crypto",
        "N8N_RESTRICT_FILE_ACCESS_TO": str(archive),
        "N8N_WEBHOOK_SECRET": f"{SECRET} {OLD_SECRET}",
        "ROUNDHOUSE_MAIL_FROM": "roundhouse@example.org",
        "ROUNDHOUSE_MAIL_TO": "team@example.org",
        "ROUNDHOUSE_ARCHIVE": str(archive),
    }
    smtp = {"host": "127.0.0.1", "port": mail_port, "secure": False, "disableStartTls": True}
    credential = {"id": "roundhouseSmtp01", "name": "Roundhouse SMTP", "type": "smtp", "data": smtp}
    n8n = N8n(program, folder, environment)
    try:
        yield Office(n8n.start(WORKFLOW, [credential]), archive, mail_port)
    finally:
        n8n.stop()


@pytest.fixture
async def office(running: Office) -> AsyncIterator[Office]:
    await running.n8n.serves()
    async with mail_server(running.mail_port) as running.post:
        yield running


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
