"""The repository is the same wherever it is cloned."""

import os
import re
from pathlib import Path

from tests.house.sources import ROOT, repository_files

REGISTRY = re.compile(r"(pypi|npmjs|pythonhosted|crates)\.(org|com|io)|registry\.npm|index-[u]rl")
MACHINE_PATH = re.compile(r"(?<![\w.~}-])/(work|root)(/|\b)")
LOCK_FILES = {"uv.lock", "poetry.lock", "package-lock.json", "yarn.lock"}
DOCUMENTS = {
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "SECURITY.md"),
    *("Makefile", "pyproject.toml", ".importlinter", "roundhouse.example.yaml"),
}


def matches(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path}: {found.group()}"
        for path in repository_files()
        if (text := readable(path)) is not None and (found := pattern.search(text))
    ]


def readable(path: Path) -> str | None:
    try:
        return (ROOT / path).read_text()
    except UnicodeDecodeError:
        return None


def is_script(path: Path) -> bool:
    return path.suffix == ".sh" or (readable(path) or "").startswith("#!")


def test_there_is_a_repository_to_check() -> None:
    assert len(repository_files()) > 100
    assert {str(path) for path in repository_files()} >= DOCUMENTS


def test_no_file_names_the_host_of_a_package_registry() -> None:
    found = matches(REGISTRY)
    assert not found, "\n".join(found)


def test_no_file_names_a_path_of_somebody_s_machine() -> None:
    found = matches(MACHINE_PATH)
    assert not found, "\n".join(found)


def test_no_lock_file_with_addresses_is_committed() -> None:
    locks = [str(path) for path in repository_files() if path.name in LOCK_FILES]
    assert not locks, "\n".join(locks)


def test_every_script_can_be_run() -> None:
    scripts = [path for path in repository_files() if is_script(path)]
    locked = [str(path) for path in scripts if not os.access(ROOT / path, os.X_OK)]

    assert not locked, "\n".join(locked)
    assert Path("roundhouse") in scripts
