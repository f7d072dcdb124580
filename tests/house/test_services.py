"""Every service looks the same from outside, so that one who knows one finds his way in all."""

from importlib import import_module
from pathlib import Path

import pytest

from shared.events.base import Event
from tests.house.sources import ROOT

SERVICES = sorted(path.parent for path in ROOT.glob("services/*/__init__.py"))

each_service = pytest.mark.parametrize("folder", SERVICES, ids=lambda folder: folder.name)

MAX_LINES_OF_AN_ENTRY_POINT = 10
MAX_LINES_OF_A_README = 30


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_the_services_of_the_core_are_here() -> None:
    core = {"gateway", "router", "model_manager", "inference_worker", "vram_monitor"}

    assert core <= {folder.name for folder in SERVICES}


@each_service
def test_a_service_has_the_usual_files(folder: Path) -> None:
    usual = {"__main__.py", "app.py", "handlers.py", "settings.py", "README.md"}

    assert usual - {path.name for path in folder.iterdir()} == set()


@each_service
def test_an_entry_point_only_starts_the_app(folder: Path) -> None:
    assert len(lines(folder / "__main__.py")) <= MAX_LINES_OF_AN_ENTRY_POINT


@each_service
def test_a_readme_is_read_in_a_minute(folder: Path) -> None:
    assert 5 <= len(lines(folder / "README.md")) <= MAX_LINES_OF_A_README


@each_service
def test_an_app_declares_what_it_consumes_and_publishes(folder: Path) -> None:
    app = import_module(f"services.{folder.name}.app")

    assert all(issubclass(event, Event) for event in (*app.CONSUMES, *app.PUBLISHES))
    assert callable(app.create_app)
