"""Under which names the models of an engine are offered."""

from collections.abc import Collection, Mapping

import structlog
from pydantic import TypeAdapter, ValidationError

from shared.config.models import ModelConfig, ModelName

log = structlog.get_logger(__name__)

MODEL_NAME: TypeAdapter[str] = TypeAdapter(ModelName)


class Catalogue:
    """An engine's own names for its models, and ours.

    A model that the configuration names is offered under that name alone: under two, it would
    have two profiles, and every change between them makes an engine reload.
    """

    def __init__(self, engine: str, models: Mapping[str, ModelConfig]) -> None:
        self._configured = {
            name: settings for name, settings in models.items() if settings.engine == engine
        }
        self._sources = {
            name: settings.source or name for name, settings in self._configured.items()
        }
        self._unusable: set[str] = set()

    def offered(self, source: str, assumed: ModelConfig) -> list[tuple[str, ModelConfig]]:
        """Names and settings under which the engine's model `source` is offered; `assumed` holds
        where the configuration does not name it."""
        named = [name for name, configured in self._sources.items() if configured == source]
        if named:
            return [(name, self._configured[name]) for name in named]
        if source in self._configured:  # that name now means another of the engine's models
            return []
        return [(source, assumed)] if self._is_usable(source) else []

    def missing(self, sources: Collection[str]) -> dict[str, str]:
        """Configured models whose source is not among these, and that source."""
        return {name: source for name, source in self._sources.items() if source not in sources}

    def source(self, name: str) -> str:
        """The engine's own name for the model that we call `name`."""
        return self._sources.get(name, name)

    def _is_usable(self, source: str) -> bool:
        if source in self._unusable:
            return False
        try:
            MODEL_NAME.validate_python(source)
        except ValidationError:
            self._unusable.add(source)
            log.warning(
                "model_without_usable_name",
                source=source,
                todo="name it under models in roundhouse.yaml, with this source",
            )
            return False
        return True
