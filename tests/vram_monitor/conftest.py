"""Fake cards, read through NVIDIA's real binding."""

import sys
from pathlib import Path

import pytest

from tests.fakes import nvml
from tests.fakes.nvml import TWO_GPUS, FakeHardware


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if nvml.compiler() is None:
        pytest.skip("no C compiler builds the fake library")
    if sys.platform != "linux":
        pytest.skip("the fake library is found by its ELF soname")
    built = nvml.build(tmp_path_factory.mktemp("nvml"))
    nvml.preload(built)
    return built


@pytest.fixture
def hardware(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHardware:
    """Two cards; what the test sets is what the next reading finds."""
    state = FakeHardware(tmp_path / "hardware")
    monkeypatch.setenv("FAKE_NVML_STATE", str(state.path))
    state.set(*TWO_GPUS)
    return state
