"""B5: poison is isolated.

One entry that nobody can read never holds up its batch, and one that nobody can handle is tried
five times. Both end as dead letters, with their reason and as they were, for people to replay.
"""

import asyncio
from typing import Any

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from shared.bus.dead_letters import DeadLetters, Letter
from shared.bus.keys import Keys
from shared.events.base import Event
from shared.events.inference import (
    InferenceAttemptFailed,
    InferenceCompleted,
    InferenceRejected,
)
from shared.events.models import NodeHeartbeat
from tests.fakes.asking import asking, final, said, xadd
from tests.fakes.processes import Processes, router, worker
from tests.fundamentals.parcels import POSTED, arrive, handled, office, post, unsettled
from tests.fundamentals.tour import Open
from tests.servers import Store
from tests.waiting import until

Client = redis.asyncio.Redis

KEYS = Keys()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"data": "no JSON"}, id="not JSON"),
        pytest.param({"data": "{}"}, id="a field is missing"),
        pytest.param({"data": b"\xff\xfe"}, id="not UTF-8"),
        pytest.param({"id": b"\xff\xfe", "data": '{"parcel": 7}'}, id="unreadable attributes"),
        pytest.param({"colour": "red"}, id="no data"),
    ],
)
async def test_one_invalid_entry_does_not_hold_up_its_batch_of_256(
    configured: Client, opened: Open, settings: dict[str, Any], fields: dict[str, Any]
) -> None:
    parcels = [str(number) for number in range(255)]
    await post(configured, *parcels[:100])
    poison: bytes = await configured.xadd(POSTED, fields)
    await post(configured, *parcels[100:])

    await opened(office(**settings))

    await arrive(configured, *parcels)
    [letter] = await letters(configured)
    assert letter.letter.entry == poison.decode()
    assert letter.letter.reason.startswith("invalid")
    assert set(letter.original) == {name.encode() for name in fields}
    assert await unsettled(configured) == 0


async def test_what_fails_five_times_is_a_dead_letter_while_the_rest_flows(
    configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    await opened(office(**settings, instance="brave"))

    await post(configured, "cursed", "plain")

    await arrive(configured, "plain")
    [letter] = await until(lambda: letters(configured), timeout_s=15)
    assert letter.letter.reason == "PoisonError: cursed"
    assert letter.letter.deliveries == 5
    assert (await handled(configured)).count("cursed brave") == 5
    await arrive(configured, "plain")


async def test_what_kills_its_consumers_ends_as_a_dead_letter(
    own_store: Store,
    configured: Client,
    processes: Processes,
    opened: Open,
    settings: dict[str, Any],
) -> None:
    await post(configured, "bomb")
    for _ in range(5):
        victim = processes.start(office, own_store.url, temper="dies while handling")
        await until(lambda child=victim: child.process.exitcode is not None, timeout_s=15)

    await opened(office(**settings, instance="careful"))

    [letter] = await until(lambda: letters(configured))
    assert letter.letter.reason == "its consumers died while they handled it"
    assert "bomb careful" not in await handled(configured)


async def test_a_dead_letter_can_be_replayed_once_its_cause_is_gone(
    configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    await opened(office(**settings))
    await configured.xadd(POSTED, {"data": "no JSON"})
    [letter] = await until(lambda: letters(configured))
    dead_letters = DeadLetters(configured, KEYS)

    await dead_letters.replay(letter.id)
    [again] = await until(lambda: letters(configured))
    assert again.id != letter.id

    await dead_letters.drop(again.id)
    assert await letters(configured) == []


async def test_an_invalid_request_is_refused_by_name_and_256_others_are_admitted(
    own_store: Store, configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    async with asking(own_store.url) as asker:
        streams = [await asker.ask("well formed") for _ in range(128)]
        await xadd(configured, "no JSON", id="bad-one", replyto="asker")
        refused = asker.requester.open("bad-one", chunks=False)
        streams += [await asker.ask("well formed") for _ in range(128)]

        await opened(worker(models=("echo",), slots=64, **settings))
        await opened(router(**settings))

        assert {said(await final(stream)) for stream in streams} == {"well formed"}
        assert (await final(refused)).data["reason"] == "invalid"
    assert await configured.xlen(KEYS.stream(InferenceRejected)) == 1
    [letter] = await letters(configured)
    assert letter.original[b"data"] == b"no JSON"


@pytest.mark.parametrize("event", [NodeHeartbeat, InferenceCompleted, InferenceAttemptFailed])
async def test_garbage_in_what_the_leader_follows_does_not_end_its_term(
    own_store: Store,
    configured: Client,
    opened: Open,
    settings: dict[str, Any],
    event: type[Event],
) -> None:
    await opened(worker(models=("echo",), slots=4, **settings))
    leader = await opened(router(**settings))
    await until(lambda: leader.role() == "active")

    with capture_logs() as logs:
        await configured.xadd(KEYS.stream(event), {"subject": b"\xff", "data": "no JSON"})
        async with asking(own_store.url) as asker:
            answers = [asker.answer("still here") for _ in range(20)]
            assert {said(each) for each in await asyncio.gather(*answers)} == {"still here"}
    said_of_it = {entry["event"] for entry in logs}
    assert not said_of_it & {"term_ended", "background_failed", "leading"}


async def letters(client: Client) -> list[Letter]:
    return [letter async for letter in DeadLetters(client, KEYS).all()]
