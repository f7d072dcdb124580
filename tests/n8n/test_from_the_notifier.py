"""What our own notifier sends is what the first workflow takes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio

from shared.bus.configuration import store_configuration
from shared.bus.envelope import envelope
from shared.bus.keys import Keys
from shared.config import Config
from shared.events.inference import InferenceCompleted
from tests.fundamentals.tour import FAST
from tests.n8n.office import ANSWER, EXAMPLE, SECRET, Office, needs_n8n
from tests.servers import Store
from tests.waiting import until

app = pytest.importorskip("services.notifier.app")
settings = pytest.importorskip("services.notifier.settings")

pytestmark = needs_n8n

KEYS = Keys()


@pytest.fixture
async def plane(
    own_store: Store, office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[redis.asyncio.Redis]:
    """A store and a notifier that has n8n as its endpoint."""
    monkeypatch.setenv("N8N_WEBHOOK_SECRET", SECRET)
    endpoint = {
        "url": office.n8n.url("roundhouse/results"),
        "secret_env": "N8N_WEBHOOK_SECRET",
        "allow_private": ["127.0.0.1/32"],
        "events": ["inference.completed"],
        "retry_s": [1.0, 1.0, 1.0],
    }
    config = Config.model_validate({**FAST.model_dump(), "endpoints": {"n8n": endpoint}})
    client = redis.asyncio.Redis.from_url(own_store.url, protocol=2)
    await store_configuration(client, KEYS, config, "test")
    service = app.create_app(settings.Settings(redis_url=own_store.url, data=tmp_path))
    await service.start()
    yield client
    await service.stop()
    await client.aclose()


async def complete(client: redis.asyncio.Redis, request_id: str) -> None:
    """As the router does, with what it knows of the request beside the answer."""
    example = InferenceCompleted.model_validate_json(EXAMPLE.read_text())
    event = example.model_copy(update={"request_id": request_id})
    known = {"task": "assess", "priority": "HIGH", "principal": "local", "dataclass": "internal"}
    fields = [*envelope(event, "test"), *(part for pair in known.items() for part in pair)]
    await client.execute_command("XADD", KEYS.stream(InferenceCompleted), "*", *fields)


async def test_an_answer_becomes_a_mail_and_a_file(
    office: Office, plane: redis.asyncio.Redis
) -> None:
    await complete(plane, "report-41")

    await until(lambda: office.mails, 60)
    assert office.mails[0]["subject"] == "assess report-41"
    report = office.mails[0].get_content()
    assert ANSWER in report
    assert "| Priority | HIGH |" in report
    delivered = KEYS.prefix + "notification.delivered.v1"
    [(_, fields)] = await until(lambda: plane.xrange(delivered), 60)
    archived = office.archive / f"{fields[b'subject'].decode()}.md"
    assert ANSWER in archived.read_text()


async def test_an_answer_is_mailed_once_the_mail_server_is_back(
    office: Office, plane: redis.asyncio.Redis
) -> None:
    office.post.refusing = True
    await complete(plane, "report-42")
    await until(lambda: office.post.refused, 60)

    office.post.refusing = False

    await until(lambda: office.mails, 60)
    await until(lambda: plane.xrange(KEYS.prefix + "notification.delivered.v1"), 60)
    assert len(office.mails) == 1
