"""What the how-to guides tell people to type works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli.app import COMMANDS
from shared.config import lint, parse_config
from tests.fakes.plane import Plane

GUIDES = sorted((Path(__file__).parents[2] / "docs/how-to").glob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TYPED = re.compile(r"\./roundhouse ([a-z]+)")


def blocks(guide: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(guide.read_text()) if kind == language]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_names_only_commands_that_exist(guide: Path) -> None:
    named = set(TYPED.findall(guide.read_text()))

    assert named
    assert named <= COMMANDS.keys()


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_links_only_to_files_that_exist(guide: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", guide.read_text())

    assert [link for link in links if not (guide.parent / link).exists()] == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_s_configurations_have_no_errors(guide: Path) -> None:
    for text in blocks(guide, "yaml"):
        findings = lint(parse_config(text, guide.name))
        assert [finding for finding in findings if finding.level == "error"] == []


def test_a_raw_entry_is_answered_as_the_guide_shows(plane: Plane) -> None:
    (guide,) = [guide for guide in GUIDES if guide.stem == "ask-from-a-program"]
    (example,) = [text for text in blocks(guide, "python") if "xadd" in text]

    ran = subprocess.run(
        [sys.executable, "-c", example],
        env={"REDIS_URL": plane.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert ran.returncode == 0, ran.stderr
    assert "'content': 'Hello'" in ran.stdout
