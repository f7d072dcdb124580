"""One n8n for all tests, and a mail server for each."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.fakes.smtp import mail_server
from tests.n8n.office import OLD_SECRET, PROGRAM, SECRET, WORKFLOW, Office
from tests.n8n.real import N8n
from tests.servers import free_port


@pytest.fixture(scope="session")
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
    n8n = N8n(PROGRAM, folder, environment)
    try:
        yield Office(n8n.start(WORKFLOW, [credential]), archive, mail_port)
    finally:
        n8n.stop()


@pytest.fixture
async def office(running: Office) -> AsyncIterator[Office]:
    await running.n8n.serves()
    async with mail_server(running.mail_port) as running.post:
        yield running
