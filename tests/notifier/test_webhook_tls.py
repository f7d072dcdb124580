"""TLS is verified for the name that was configured."""

import pytest

from services.notifier.verdict import Answered, Unanswered
from services.notifier.webhook import Caller
from tests.fakes.authority import Authority, openssl
from tests.fakes.receiver import Receiver, receiving
from tests.notifier.calling import LOOPBACK, NAME, Names, post
from tests.notifier.desk import endpoint


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if openssl() is None:
        pytest.skip("no openssl program makes certificates")
    return Authority(tmp_path_factory.mktemp("authority")).found()


@pytest.mark.parametrize(
    ("name", "days", "trusted", "said"),
    [
        (NAME, 2, True, ""),
        ("other.example", 2, True, "Hostname mismatch"),
        (NAME, -1, True, "certificate has expired"),
        (NAME, 2, False, "unable to get local issuer"),
    ],
    ids=["valid", "another's", "expired", "of an unknown authority"],
)
async def test_tls_is_verified_for_the_name_and_not_for_the_address(
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    days: int,
    trusted: bool,
    said: str,
) -> None:
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    async with receiving(tls=authority.server(name, days)) as receiver:
        url = f"https://{NAME}:{receiver.port}/"
        caller = Caller(Names(["127.0.0.1"]).addresses)
        outcome = await post(caller, endpoint(receiver, url=url, **LOOPBACK))

    if said:
        assert isinstance(outcome, Unanswered)
        assert outcome.reason == "tls"
        assert said in outcome.message
        assert receiver.received == []
    else:
        assert isinstance(outcome, Answered)


async def test_certificates_that_cannot_be_read_are_an_outcome_and_no_crash(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authorities.pem")

    outcome = await post(Caller(), endpoint(receiver, url=f"https://127.0.0.1:{receiver.port}/"))

    assert isinstance(outcome, Unanswered)
    assert outcome.reason == "impossible"
    assert "FileNotFoundError" in outcome.message


async def test_http_where_tls_is_expected_is_told(receiver: Receiver) -> None:
    url = f"https://127.0.0.1:{receiver.port}/"

    outcome = await post(Caller(), endpoint(receiver, url=url, timeout_s=2.0))

    assert isinstance(outcome, Unanswered)
    assert outcome.reason in ("tls", "broken", "timed_out")
