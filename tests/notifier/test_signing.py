"""Signatures that the receivers' library verifies."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from services.notifier.signing import body_of, headers_of
from shared.config.endpoints import signing_keys

OLD = "whsec_" + "b2xkIHNlY3JldCBvbGQgc2VjcmV0IG9sZA=="
NEW = "whsec_" + "bmV3IHNlY3JldCBuZXcgc2VjcmV0IG5ldyE="
BODY = body_of("inference.completed", "2026-11-21T15:02:39.123Z", {"text": "Grüße \U0001f689"})


def signed(secrets: str, now: datetime | None = None) -> dict[str, str]:
    return headers_of("n1", BODY, signing_keys(secrets), now or datetime.now(UTC))


def test_the_body_is_what_standard_webhooks_asks_for() -> None:
    assert json.loads(BODY) == {
        "type": "inference.completed",
        "timestamp": "2026-11-21T15:02:39.123Z",
        "data": {"text": "Grüße \U0001f689"},
    }


def test_the_library_verifies_it() -> None:
    assert Webhook(NEW).verify(BODY, signed(NEW))["type"] == "inference.completed"


@pytest.mark.parametrize("known", [OLD, NEW])
def test_while_a_secret_is_changed_either_verifies_it(known: str) -> None:
    assert Webhook(known).verify(BODY, signed(f"{NEW} {OLD}"))


def test_another_secret_or_body_does_not() -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(BODY, signed(NEW))
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY + b" ", signed(NEW))


def test_an_attempt_is_dated_so_that_a_recording_of_it_grows_old() -> None:
    old = signed(NEW, datetime.now(UTC) - timedelta(minutes=6))

    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(NEW).verify(BODY, old)


@pytest.mark.parametrize(
    "secrets",
    ["", "  ", "hunter2", "whsec_c2hvcnQ=", "whsec_!!!", NEW[6:], f"{NEW} hunter2"],
)
def test_what_is_no_secret_is_refused_and_not_repeated(secrets: str) -> None:
    with pytest.raises(ValueError, match=r"is not set here|is no signing secret") as caught:
        signing_keys(secrets)

    assert not secrets.strip() or secrets not in str(caught.value)
