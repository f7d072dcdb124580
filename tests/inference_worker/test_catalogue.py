"""An engine's models are offered under one name each."""

import pytest

from services.inference_worker.backends.catalogue import Catalogue
from shared.config.models import ModelConfig

ASSUMED = ModelConfig(engine="openai", slots=7)
CHOSEN = ModelConfig(engine="openai", source="/weights/qwen", slots=3)
SWAPPED = ModelConfig(engine="openai", source="a")


def test_a_model_that_nobody_configured_keeps_its_own_name() -> None:
    catalogue = Catalogue("openai", {})

    assert catalogue.offered("qwen2.5:7b", ASSUMED) == [("qwen2.5:7b", ASSUMED)]
    assert catalogue.source("qwen2.5:7b") == "qwen2.5:7b"


def test_a_configured_model_is_offered_under_its_configured_name_alone() -> None:
    catalogue = Catalogue("openai", {"qwen": CHOSEN})

    assert catalogue.offered("/weights/qwen", ASSUMED) == [("qwen", CHOSEN)]
    assert catalogue.source("qwen") == "/weights/qwen"


def test_a_name_that_the_configuration_gave_away_is_not_offered_twice() -> None:
    catalogue = Catalogue("openai", {"b": SWAPPED})

    assert catalogue.offered("a", ASSUMED) == [("b", SWAPPED)]
    assert catalogue.offered("b", ASSUMED) == []


def test_models_of_other_engines_play_no_part() -> None:
    catalogue = Catalogue("ollama", {"qwen": CHOSEN})

    assert catalogue.offered("qwen", ASSUMED) == [("qwen", ASSUMED)]


@pytest.mark.parametrize("source", ["/weights/x", "two words", "tiny", "any", "heuristic:x", ""])
def test_a_name_that_cannot_be_used_is_not_offered(source: str) -> None:
    assert Catalogue("openai", {}).offered(source, ASSUMED) == []
