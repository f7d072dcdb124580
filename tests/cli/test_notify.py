"""`notify`: what waits for whom, a test now, and telling somebody again."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from shared.bus.keys import Keys
from shared.events.notifications import NotificationFailed
from tests.fakes.command import Command
from tests.fakes.processes import Processes
from tests.fakes.receiver import Receiver, receiving, status
from tests.notifier.desk import SOON_S, Desk, endpoint, notifier
from tests.servers import Store
from tests.waiting import until


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def desk(own_store: Store, tmp_path: Path) -> AsyncIterator[Desk]:
    client = redis.asyncio.Redis.from_url(own_store.url, protocol=2)
    yield Desk(client, own_store.url, tmp_path)
    await client.aclose()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path)
    yield processes
    processes.end()


async def run(command: Command, *arguments: str) -> tuple[int | None, str, str]:
    """One run, while this test's own receiver goes on answering."""
    started = command.start(*arguments)
    await until(lambda: started.process.exitcode is not None, SOON_S)
    finished = started.finish()
    return finished.code, finished.out, finished.err


async def test_a_receiver_is_tested_and_its_answer_told(
    desk: Desk, receiver: Receiver, processes: Processes, lonely: Command
) -> None:
    await desk.configure(n8n=endpoint(receiver))
    processes.start(notifier, desk.url)

    code, out, _ = await run(lonely, "notify", "test", "n8n")
    receiver.conduct = status(500)
    failed = lonely.start("notify", "test", "n8n", "--json")
    await until(lambda: failed.process.exitcode is not None, SOON_S)

    assert code == 0
    assert out.startswith("n8n: HTTP 204, after ")
    bad = failed.finish()
    assert (bad.code, bad.document["ok"], bad.document["status"]) == (1, False, 500)


async def test_what_waits_is_listed_and_sent_again(
    desk: Desk, receiver: Receiver, processes: Processes, lonely: Command
) -> None:
    receiver.conduct = status(500)
    await desk.configure(n8n=endpoint(receiver, retry_s=[], events=["inference.completed"]))
    await desk.complete("r1")
    listed = lonely.run("notify", "list", "--json").document
    processes.start(notifier, desk.url)
    await desk.has(NotificationFailed)
    receiver.conduct = "ok"

    code, out, _ = await run(lonely, "notify", "redeliver", "n8n", "--failed")
    await until(lambda: receiver.accepted, SOON_S)
    await until(lambda: desk.settled("n8n"), SOON_S)
    since = lonely.run("notify", "redeliver", "n8n", "--since", "1h", "--json").document
    table = lonely.run("notify", "list").out

    assert [row["endpoint"] for row in listed] == ["n8n"]
    assert listed[0]["receiver"] == f"http://127.0.0.1:{receiver.port}"
    assert (code, out) == (0, "n8n: 1 queued again.\n")
    assert since == {"endpoint": "n8n", "queued": 1, "waiting": 0}
    assert "undelivered" in table
    assert "webhook" not in table, "a path may be a secret"


async def test_an_endpoint_that_is_off_is_shown(desk: Desk, lonely: Command) -> None:
    await desk.configure(n8n=endpoint(Receiver(port=9)))
    await desk.client.hset(Keys().endpoint("n8n"), "off_for", "digest")

    assert " off " in lonely.run("notify", "list").out


async def test_without_a_notifier_the_wait_is_given_up(desk: Desk, lonely: Command) -> None:
    await desk.configure(n8n=endpoint(Receiver(port=9), timeout_s=0.1))

    asked = lonely.run("notify", "test", "n8n")

    assert asked.code == 1
    assert "No notifier answers on this store" in asked.err


async def test_an_unknown_endpoint_is_told_with_those_that_there_are(
    desk: Desk, lonely: Command
) -> None:
    nothing = lonely.run("notify", "test", "n8n")
    await desk.configure(n8n=endpoint(Receiver(port=9)))
    other = lonely.run("notify", "redeliver", "n9n", "--failed")

    assert "Add one to endpoints" in nothing.err
    assert "There are: n8n" in other.err
    assert nothing.code == other.code == 1
    assert lonely.run("notify", "list", "--json").document[0]["undelivered"] == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Give one of --failed, --since and --id"),
        (["--failed", "--since", "1h"], "Give one of --failed, --since and --id"),
        (["--since", "yesterday"], "--since yesterday is no time"),
        (["--id", "no id"], "'no id' is no webhook-id"),
    ],
)
async def test_a_redelivery_must_say_of_what(
    desk: Desk, lonely: Command, options: list[str], said: str
) -> None:
    await desk.configure(n8n=endpoint(Receiver(port=9)))

    refused = lonely.run("notify", "redeliver", "n8n", *options)

    assert (refused.code, refused.out) == (1, "")
    assert said in refused.err


def test_nothing_is_configured_at_first(lonely: Command) -> None:
    assert "No endpoints are configured" in lonely.run("notify", "list").out
