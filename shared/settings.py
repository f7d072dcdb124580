"""What a process is told by its environment; everything else is in the configuration."""

from pathlib import Path

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.instances import MAX_LENGTH, new_instance


class ServiceSettings(BaseSettings):
    """The environment that all services share."""

    model_config = SettingsConfigDict(
        env_prefix="ROUNDHOUSE_", frozen=True, extra="ignore", populate_by_name=True
    )

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        validation_alias=AliasChoices("REDIS_URL", "redis_url"),
        repr=False,
    )
    key_prefix: str = Field(
        default="rh:", validation_alias=AliasChoices("ROUNDHOUSE_PREFIX", "key_prefix")
    )
    host: str = "127.0.0.1"
    port: int = 0
    log_level: str = "info"
    node: str = "local"
    data: Path = Path(".roundhouse")
    instance: str = Field(default_factory=new_instance, min_length=1, max_length=MAX_LENGTH)
