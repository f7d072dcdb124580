"""`roundhouse contracts` on a copy of the tree, where it may change what it likes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.address import ROOT
from cli.contract_documents.tree import generate, stale

SCHEMA = "shared/contracts/node.lost.v1.schema.json"


class Checkout:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def contracts(self, *arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "cli", "contracts", *arguments]
        result = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False
        )
        return result.returncode, result.stdout + result.stderr

    def replace(self, file: str, old: str, new: str) -> None:
        text = (self.folder / file).read_text()
        assert old in text
        (self.folder / file).write_text(text.replace(old, new))


PAINTER = """
from shared.events.models import NodeLost, NodeReturned

CONSUMES = (NodeLost,)
PUBLISHES = (NodeReturned,)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    for folder in ("cli", "shared"):
        without = shutil.ignore_patterns("__pycache__", "released", "*.asyncapi.json")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=without)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "services/painter").mkdir(parents=True)
    (tmp_path / "services/painter/app.py").write_text(PAINTER)
    checkout = Checkout(tmp_path)
    assert checkout.contracts()[0] == 0
    return checkout


def test_the_committed_files_are_current() -> None:
    assert stale(ROOT, generate(ROOT).files) == []


def test_a_service_gets_its_document_and_its_place_in_the_catalogue(checkout: Checkout) -> None:
    document = json.loads((checkout.folder / "shared/contracts/painter.asyncapi.json").read_text())
    catalogue = (checkout.folder / "docs/reference/events.md").read_text()

    assert document["operations"].keys() == {"receiveNodeLost", "sendNodeReturned"}
    assert "| A lost node is heard again. | painter | followers |" in catalogue
    assert checkout.contracts("--check") == (0, "The contracts are current.\n")


def test_a_stale_file_is_named_with_the_command_that_renews_it(checkout: Checkout) -> None:
    checkout.replace(SCHEMA, "silent_ms", "silent_s")
    (checkout.folder / "shared/contracts/model.painted.v1.schema.json").write_text("{}")

    status, output = checkout.contracts("--check")

    assert status == 1
    assert output.splitlines() == [
        "stale: shared/contracts/model.painted.v1.schema.json",
        f"stale: {SCHEMA}",
        "Run `./roundhouse contracts` and commit what it writes.",
    ]


def test_running_it_writes_what_is_stale_and_nothing_else(checkout: Checkout) -> None:
    before = (checkout.folder / SCHEMA).read_bytes()
    checkout.replace(SCHEMA, "silent_ms", "silent_s")

    assert checkout.contracts() == (0, f"written: {SCHEMA}\n")
    assert (checkout.folder / SCHEMA).read_bytes() == before
    assert checkout.contracts("--check")[0] == 0


def test_once_released_a_contract_may_grow_but_not_shrink(checkout: Checkout) -> None:
    assert checkout.contracts("--release", "0.1.0")[0] == 0

    checkout.replace(
        "shared/events/models.py", "silent_ms: int", "silent_ms: int\n    cause: str = ''"
    )
    assert checkout.contracts()[0] == 0
    assert checkout.contracts("--check")[0] == 0

    checkout.replace("shared/events/models.py", "silent_ms: int", "silent_s: float")
    status, output = checkout.contracts()
    assert status == 1
    assert "breaking: node.lost.v1.schema.json: silent_ms: removed" in output
    assert "breaking: node.lost.v1.schema.json: silent_s: new, and required" in output
    assert checkout.contracts("--check")[0] == 1


def test_a_release_is_refused_where_it_would_be_untrue(checkout: Checkout) -> None:
    assert "not a version" in checkout.contracts("--release", "next")[1]
    assert checkout.contracts("--release", "0.2.0")[0] == 0
    assert "0.1.9 does not follow 0.2.0" in checkout.contracts("--release", "0.1.9")[1]

    checkout.replace(SCHEMA, "silent_ms", "silent_s")
    assert checkout.contracts("--release", "0.3.0")[0] == 1
    assert not (checkout.folder / "shared/contracts/released/0.3.0").exists()


def test_the_outcome_can_be_read_by_a_program(checkout: Checkout) -> None:
    checkout.replace(SCHEMA, "silent_ms", "silent_s")

    status, output = checkout.contracts("--check", "--json")

    assert status == 1
    assert json.loads(output) == {"stale": [SCHEMA], "breaking": []}


def test_a_service_that_declares_nothing_is_named(checkout: Checkout) -> None:
    (checkout.folder / "services/painter/app.py").write_text("")

    status, output = checkout.contracts("--check")

    assert status == 1
    assert "services.painter.app has no CONSUMES" in output
