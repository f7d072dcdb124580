"""Fixtures for tests of the command."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.checkout import Checkout
from tests.fakes.command import Command
from tests.fakes.plane import Plane
from tests.servers import Store


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """Nothing runs in it yet; nothing is left of it afterwards."""
    checkout = Checkout(tmp_path / "data")
    yield checkout
    checkout.clean_up()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """One that is up, for tests that leave it so."""
    checkout = Checkout(tmp_path_factory.mktemp("running") / "data")
    result = checkout.up("--detach")
    assert result.returncode == 0, result.stdout
    yield checkout
    checkout.clean_up()


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """One for all tests that ask something of it; whoever changes it puts it back."""
    plane = Plane(tmp_path_factory.mktemp("plane"))
    try:
        yield plane.start()
    finally:
        plane.stop()


@pytest.fixture
def command(plane: Plane, tmp_path: Path) -> Command:
    """The command, told of that plane."""
    return Command(tmp_path, plane.url)


@pytest.fixture
def lonely(own_store: Store, tmp_path: Path) -> Command:
    """The command, told of a store that no service uses."""
    return Command(tmp_path, own_store.url)


@pytest.fixture
def nowhere(tmp_path: Path) -> Command:
    """The command, told of a store that is not there."""
    return Command(tmp_path, "redis://127.0.0.1:1/0")
