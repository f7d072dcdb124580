"""What the gateway is told by its environment."""

import sys
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import ValidationError, field_validator, model_validator
from pydantic_settings import NoDecode

from shared.settings import ServiceSettings


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what is bound to this name or address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Settings(ServiceSettings):
    port: int = 8080
    allow_remote: bool = False
    """Serve others than this machine, although nobody has to say who they are."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Further names under which the gateway may be addressed, separated by commas; `*`: any."""

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, names: Any) -> Any:
        return [name.strip() for name in names.split(",")] if isinstance(names, str) else names

    @model_validator(mode="after")
    def _stays_on_this_machine(self) -> "Settings":
        if not is_loopback(self.host) and not self.allow_remote:
            raise ValueError(
                f"ROUNDHOUSE_HOST={self.host} would let anybody who reaches this machine use its"
                " models, because the gateway has no API keys yet. Keep 127.0.0.1 and put a"
                " reverse proxy with authentication in front of it; where one stands there"
                " already, say so with ROUNDHOUSE_ALLOW_REMOTE=1"
            )
        return self


def settings_or_exit() -> Settings:
    """The settings of this process; ends it with one line for each mistake in them."""
    try:
        return Settings()
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
    for each in mistakes:
        reason = each["msg"].removeprefix("Value error, ")
        print("gateway:", *each["loc"], reason, file=sys.stderr)  # noqa: T201 - for a person
    sys.exit(1)
