"""The notifier needs what every service needs, and the secrets that the configuration names."""

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """Environment of a notifier."""
