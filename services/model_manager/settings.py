"""The manager needs only what every service needs."""

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """Environment of a model-manager."""
