"""What the tests of the first workflow do and see."""

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from standardwebhooks import Webhook

from tests.fakes.smtp import MailServer
from tests.house.sources import ROOT
from tests.n8n.real import N8n

WORKFLOW = ROOT / "n8n-workflows" / "01-result-processing.json"
EXAMPLE = ROOT / "shared/contracts/examples/inference.completed.v1/chat.json"
ANSWER = "High: root can be guessed from anywhere that reaches port 22."

OLD_SECRET = "whsec_" + "b2xk" * 8
SECRET = "whsec_" + "bmV3" * 8

PROGRAM = Path(os.environ.get("N8N_PROGRAM", ""))

needs_n8n = [
    pytest.mark.skipif(not PROGRAM.is_file(), reason="no n8n here; make test-n8n installs one"),
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
