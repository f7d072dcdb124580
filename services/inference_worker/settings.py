from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """The worker's environment: which node it is, and where it may write."""

    tiny: str = "auto"
    """`always` offers the generated test model also beside real ones."""
