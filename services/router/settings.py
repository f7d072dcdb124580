from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """The router needs nothing of its own."""
