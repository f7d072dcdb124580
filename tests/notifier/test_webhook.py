"""One POST, to receivers that fail in every way: bounded, pinned, and never told in their words."""

import asyncio
import socket
from collections.abc import Sequence
from time import monotonic
from typing import Any

import pytest

from services.notifier.verdict import Answered, Unanswered
from services.notifier.webhook import ANSWER_BYTES, Caller, Parcel, Resolver
from tests.fakes.receiver import Receiver, status
from tests.notifier.calling import NAME, PARCEL, Names, named, post
from tests.notifier.desk import endpoint
from tests.servers import free_port


@pytest.fixture
def caller() -> Caller:
    return Caller()


async def test_what_arrives_is_what_was_sent(caller: Caller, receiver: Receiver) -> None:
    outcome = await post(caller, endpoint(receiver))

    [delivery] = receiver.received
    assert isinstance(outcome, Answered)
    assert outcome.status == 204
    assert (delivery.body, delivery.path) == (PARCEL.body, "/webhook/roundhouse")
    assert delivery.headers["webhook-id"] == "n1"
    assert "cookie" not in delivery.headers


@pytest.mark.parametrize("code", [200, 299, 301, 302, 307, 308, 400, 404, 410, 500, 503])
async def test_a_status_is_told_and_no_redirect_followed(
    caller: Caller, receiver: Receiver, code: int
) -> None:
    receiver.conduct = status(code, location=receiver.url, set_cookie="a=b")

    first, second = [await post(caller, endpoint(receiver)) for _ in range(2)]

    assert isinstance(first, Answered)
    assert isinstance(second, Answered)
    assert first.status == second.status == code
    assert len(receiver.received) == 2
    assert all("cookie" not in delivery.headers for delivery in receiver.received)


@pytest.mark.parametrize(
    ("conduct", "reason"),
    [
        ("hangs", "timed_out"),
        ("trickles", "timed_out"),
        ("resets", "broken"),
        ("silent close", "invalid"),
        ("half an answer", "invalid"),
        ("nonsense", "invalid"),
        ("huge headers", "invalid"),
    ],
)
async def test_a_failure_is_told_in_time_and_in_our_words(
    caller: Caller, receiver: Receiver, conduct: str, reason: str
) -> None:
    receiver.conduct = conduct
    timeout_s = 0.5 if reason == "timed_out" else 10.0
    began_s = monotonic()

    outcome = await post(caller, endpoint(receiver, timeout_s=timeout_s))

    assert isinstance(outcome, Unanswered)
    assert outcome.reason == reason
    assert "hunter2" not in outcome.message
    assert monotonic() - began_s < timeout_s + 5


async def test_a_flood_is_cut_and_its_status_counts(caller: Caller, receiver: Receiver) -> None:
    receiver.conduct = "floods"

    outcome = await post(caller, endpoint(receiver))

    assert isinstance(outcome, Answered)
    assert outcome.status == 200
    assert ANSWER_BYTES < 100_000


async def test_nobody_there_is_told_apart(caller: Caller, receiver: Receiver) -> None:
    nobody = endpoint(receiver, url=f"http://127.0.0.1:{free_port()}/")

    outcome = await post(caller, nobody)

    assert isinstance(outcome, Unanswered)
    assert outcome.reason == "refused"


async def test_a_connection_that_nobody_accepts_ends_in_time(caller: Caller) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        port = deaf.getsockname()[1]
        full = [socket.socket() for _ in range(4)]
        for each in full:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        url = f"http://127.0.0.1:{port}/"
        outcome = await post(caller, endpoint(Receiver(), url=url, timeout_s=0.5))
        for each in full:
            each.close()

    assert isinstance(outcome, Unanswered)
    assert outcome.reason == "timed_out"


async def test_a_receiver_may_say_when(caller: Caller, receiver: Receiver) -> None:
    receiver.conduct = status(429, retry_after="17")

    outcome = await post(caller, endpoint(receiver))

    assert isinstance(outcome, Answered)
    assert (outcome.status, outcome.retry_after_s) == (429, 17.0)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "10.0.0.1"),
        *("100.64.0.1", "[fd00::1]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1"),
        *("localhost", "224.0.0.1", "[::]", "192.168.1.1"),
    ],
)
async def test_nothing_inside_is_called_unless_allowed(receiver: Receiver, host: str) -> None:
    url = f"http://{host}:{receiver.port}/"
    caller = Caller()

    outcome = await post(caller, endpoint(receiver, url=url, allow_private=[]))

    assert isinstance(outcome, Unanswered)
    assert outcome.reason == "forbidden"
    assert receiver.received == []


@pytest.mark.parametrize("user", ["user@", "user:password@", "@"])
def test_an_address_with_credentials_is_no_endpoint(receiver: Receiver, user: str) -> None:
    with pytest.raises(ValueError, match="must not carry a user"):
        endpoint(receiver, url=f"http://{user}example.org/")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://h/", "ftp://h/", "//h/", "h"])
def test_only_http_is_an_endpoint(receiver: Receiver, url: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        endpoint(receiver, url=url)


async def test_the_address_that_was_checked_is_the_one_that_is_called(receiver: Receiver) -> None:
    """A name server that answers well when asked first, and with an inner address after that."""
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    only_the_first = {"allow_private": ["127.0.0.2/32"], "timeout_s": 2.0}

    outcomes = [
        await post(Caller(names.addresses), named(receiver, **only_the_first)) for _ in range(2)
    ]

    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Unanswered)] == [
        "refused",
        "forbidden",
    ]
    assert names.asked == 2, "once for each attempt"
    assert receiver.received == []


async def test_a_name_reaches_the_receiver_in_its_header(receiver: Receiver) -> None:
    outcome = await post(Caller(Names(["127.0.0.1"]).addresses), named(receiver))

    assert isinstance(outcome, Answered)
    [delivery] = receiver.received
    assert delivery.headers["host"] == f"{NAME}:{receiver.port}"
    assert delivery.path == "/hook?key=value"


async def test_the_next_address_of_a_name_is_tried(receiver: Receiver) -> None:
    outcome = await post(Caller(Names(["127.0.0.2", "127.0.0.1"]).addresses), named(receiver))

    assert isinstance(outcome, Answered)
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    "answer", [socket.gaierror(-2, "unknown"), UnicodeError("label too long"), []], ids=str
)
async def test_a_name_that_nobody_knows_is_told(
    receiver: Receiver, answer: Sequence[str] | Exception
) -> None:
    outcome = await post(Caller(Names(answer).addresses), named(receiver))

    assert isinstance(outcome, Unanswered)
    assert outcome.reason == "unresolved"


async def test_sensitive_data_are_not_sent_where_they_may_not_go(receiver: Receiver) -> None:
    restricted = Parcel(b"{}", {}, "restricted")
    caller = Caller(Names(["127.0.0.1"]).addresses)

    outcome = await post(caller, named(receiver, dataclasses=["internal"]), restricted)

    assert isinstance(outcome, Unanswered)
    assert outcome.reason == "withheld"
    assert receiver.received == []


async def test_a_proxy_of_the_environment_is_not_asked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")

    outcome = await post(Caller(), endpoint(receiver))

    assert isinstance(outcome, Answered)


async def test_look_ups_that_hang_are_one_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver, looked_up = Resolver(), []

    async def hang(host: str, port: int, **_: Any) -> list[Any]:
        looked_up.append(host)
        await asyncio.sleep(0.2)
        raise socket.gaierror(-3, "temporary failure")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
    waiting = [asyncio.create_task(resolver.addresses("dead.example", 80)) for _ in range(5)]
    await asyncio.wait(waiting[:1], timeout=0.05)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    with pytest.raises(socket.gaierror):
        await resolver.addresses("dead.example", 80)

    assert looked_up == ["dead.example"]
