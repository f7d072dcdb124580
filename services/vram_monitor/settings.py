"""The monitor needs only what every service needs."""

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """Environment of a vram-monitor: its node's name above all."""
