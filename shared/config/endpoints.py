"""Receivers of webhooks: where they are, what they hear of, and what may go there."""

from base64 import b64decode
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from shared.config.section import Count, Seconds, Section, VariableName, http_address
from shared.events.base import Name

MINUTE_S, HOUR_S = 60.0, 3600.0

Told = Literal[
    "inference.completed",
    "inference.failed",
    "inference.cancelled",
    "inference.rejected",
    "dead_letter",
]
"""What an endpoint can hear of."""

RETRY_S = (
    *(5.0, 5 * MINUTE_S, 30 * MINUTE_S),
    *(2 * HOUR_S, 5 * HOUR_S, 10 * HOUR_S, 14 * HOUR_S, 20 * HOUR_S, 24 * HOUR_S),
)
"""The pauses that Standard Webhooks proposes: three days in all."""

LONGEST_TIMEOUT_S = 60.0
LONGEST_RETRY_S = 80 * HOUR_S

SECRET_PREFIX = "whsec_"  # noqa: S105 - how every secret begins
SECRET_BYTES = range(24, 65)
"""As Standard Webhooks has it."""


def signing_keys(secrets: str) -> tuple[bytes, ...]:
    """The keys in a variable's text: one, or several with spaces between while they are changed.

    Raise `ValueError`, which says what is wrong and never what the secret is.
    """
    if not secrets.strip():
        raise ValueError("is not set here; set it, in .env for example, where the notifier runs")
    try:
        keys = tuple(
            b64decode(each.removeprefix(SECRET_PREFIX), validate=True) for each in secrets.split()
        )
    except ValueError:
        keys = ()
    prefixed = all(each.startswith(SECRET_PREFIX) for each in secrets.split())
    if not keys or not prefixed or any(len(key) not in SECRET_BYTES for key in keys):
        raise ValueError("is no signing secret; it must be whsec_ and base64 of 24 to 64 bytes")
    return keys


def _is_a_network(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError as error:
        raise ValueError("is not a network; write it like 192.168.1.20/32") from error


Network = Annotated[str, AfterValidator(_is_a_network)]


class EndpointConfig(Section):
    """One receiver of signed webhooks."""

    url: str
    secret_env: VariableName
    """Name of the notifier's environment variable that holds the `whsec_` secret."""
    events: tuple[Told, ...] = (
        "inference.completed",
        "inference.failed",
        "inference.cancelled",
        "inference.rejected",
        "dead_letter",
    )
    tasks: tuple[Name, ...] = ()
    """Only requests of these; empty: of all. Dead letters belong to no task."""
    allow_private: tuple[Network, ...] = ()
    """Networks that are not public and may be called all the same."""
    dataclasses: tuple[Name, ...] | None = None
    """What may go there; None: public and internal, to an address in `allow_private` everything."""
    timeout_s: Annotated[Seconds, Field(le=LONGEST_TIMEOUT_S)] = 15.0
    """Of a whole attempt, from looking up the name to the last byte of the answer."""
    concurrency: Count = 4
    """Attempts at a time, per notifier."""
    retry_s: tuple[Seconds, ...] = RETRY_S
    """Pauses between attempts. After the last of them comes the last attempt."""

    @field_validator("url")
    @classmethod
    def _is_an_address_without_a_password(cls, url: str) -> str:
        parts = http_address(url)
        if parts is None:
            raise ValueError("is not an address; write it like https://n8n.example.org/webhook/x")
        if parts.username is not None or parts.password is not None:
            raise ValueError(
                "must not carry a user or a password; the signature tells the receiver who calls"
            )
        if parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("holds characters that no address has; encode them, or leave them out")
        return url

    @field_validator("retry_s")
    @classmethod
    def _ends_in_time(cls, pauses: tuple[float, ...]) -> tuple[float, ...]:
        if sum(pauses) > LONGEST_RETRY_S:
            raise ValueError(
                f"adds up to more than {LONGEST_RETRY_S / HOUR_S:g} hours, for which nothing is "
                "kept; choose shorter pauses"
            )
        return pauses

    @field_validator("allow_private", mode="before")
    @classmethod
    def _may_be_false(cls, given: Any) -> Any:
        if given is True:
            raise ValueError("must be false or a list of networks, such as [192.168.1.20/32]")
        return () if given is False else given
