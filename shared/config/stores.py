"""The stores, and the trail that one of them keeps."""

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import field_validator

from shared.config.section import Section


def _store(url: str | None, schemes: tuple[str, ...], example: str, variable: str) -> str | None:
    parts = urlsplit(url or "")
    if url is not None and parts.scheme not in schemes:
        raise ValueError(f"is not the address of a store; write it like {example}")
    if parts.password:
        raise ValueError(f"must not carry a password; put the whole URL into {variable}, or .env")
    return url


class StoresConfig(Section):
    """Stores that run elsewhere; one that is not named here is started by `up`."""

    redis: str | None = None
    """URL of a Redis 7.0 or later, or a Valkey. The variable REDIS_URL wins over it."""
    postgres: str | None = None
    """URL of a Postgres 16 or later. The variable DATABASE_URL wins over it."""

    @field_validator("redis")
    @classmethod
    def _is_a_redis(cls, url: str | None) -> str | None:
        return _store(url, ("redis", "rediss", "unix"), "redis://10.0.0.5:6379/0", "REDIS_URL")

    @field_validator("postgres")
    @classmethod
    def _is_a_postgres(cls, url: str | None) -> str | None:
        example = "postgresql://roundhouse@10.0.0.5:5432/roundhouse"
        return _store(url, ("postgresql", "postgres"), example, "DATABASE_URL")


class AuditConfig(Section):
    """The audit trail: what happens where it cannot keep up."""

    mode: Literal["best_effort", "strict", "off"] = "best_effort"
    """Once it holds a quarter of the store's memory: best_effort spills to a file, replayed later;
    strict refuses new requests. off: `up` starts neither the audit-logger nor its Postgres."""

    @field_validator("mode", mode="before")
    @classmethod
    def _reads_off_as_a_word(cls, given: Any) -> Any:
        return "off" if given is False else given  # YAML reads a plain `off` as false
