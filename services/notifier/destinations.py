"""Whether a notification may go to where a name leads. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.config import EndpointConfig
from shared.config.addresses import Address, can_be_allowed, is_covered, objection, parsed

MAY_LEAVE = frozenset({"public", "internal"})
"""Data classes that go to a public address where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`forbidden`: such addresses are not called. `withheld`: this may not be told there."""

    reason: Literal["forbidden", "withheld"]
    message: str


def refusal(
    name: str, endpoint: EndpointConfig, host: str, addresses: Sequence[str], dataclass: str | None
) -> Refusal | None:
    """What stands against one of the addresses that `host` leads to; None where all will do.

    One bad address among good ones is refused too: the next attempt might end there.
    """
    for address in map(parsed, addresses):
        if what := objection(address, endpoint.allow_private):
            return Refusal("forbidden", f"{host} is {address}, {what}; {_todo(name, address)}")
        private = is_covered(address, endpoint.allow_private)
        if not _may_go(dataclass, endpoint, private=private):
            return Refusal(
                "withheld",
                f"{dataclass} data may not go to {host}; if it may, "
                f"list {dataclass} in endpoints.{name}.dataclasses",
            )
    return None


def _may_go(dataclass: str | None, endpoint: EndpointConfig, *, private: bool) -> bool:
    if dataclass is None:
        return True
    if endpoint.dataclasses is not None:
        return dataclass in endpoint.dataclasses
    return private or dataclass in MAY_LEAVE


def _todo(name: str, address: Address) -> str:
    if not can_be_allowed(address):
        return "it is never called"
    network = f"{address}/{address.max_prefixlen}"
    return f"if it is meant, add allow_private: [{network}] to endpoints.{name}"
