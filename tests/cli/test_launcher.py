"""./roundhouse, the script that finds or makes the environment."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.checkout import ROOT

TOOLS = ("sh", "dirname", "readlink", "cmp", "cp", "id", "cat", "rm", "mkdir", "grep")

ECHO = '#!/bin/sh\necho "PYTHONPATH=$PYTHONPATH in $PWD: $*"\n'
TOO_OLD = '#!/bin/sh\n[ "$1" = -c ] && case $2 in *sys.exit*) exit 1 ;; *) echo 3.9.2 ;; esac\n'
WITHOUT_VENV = """#!/bin/sh
case "$*" in *sys.exit*) exit 0 ;; *--version*) echo Python 3.12.1 ;; *) exit 1 ;; esac
"""
WITHOUT_PACKAGES = """#!/bin/sh
case "$*" in
    *--version*) echo Python 3.12.1 ;;
    "-m venv"*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && cp "$0" "$4/bin/pip" ;;
    *"pip "*) echo "ERROR: no such index" && exit 1 ;;
esac
"""
INSTALLING = WITHOUT_PACKAGES.replace(
    'echo "ERROR: no such index" && exit 1', 'echo "Collecting one==1.0" && echo installed >&2'
).replace("esac", '    *cli*) echo "ran $*" ;;\nesac')


@dataclass
class Launcher:
    """A checkout with nothing but the launcher, on a machine with nothing but `python3`."""

    root: Path

    def machine(self, python: str) -> None:
        """What `python3` is there."""
        bin_folder = self.root.parent / "bin"
        bin_folder.mkdir()
        for tool in TOOLS:
            (bin_folder / tool).symlink_to(shutil.which(tool) or "")
        executable(bin_folder / "python3", python)

    def run(
        self, *arguments: str, script: Path | None = None, cwd: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(script or self.root / "roundhouse"), *arguments],
            cwd=cwd or self.root,
            env={"PATH": str(self.root.parent / "bin"), "HOME": str(self.root.parent)},
            capture_output=True,
            text=True,
            check=False,
        )


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    root = tmp_path / "the checkout"
    (root / "requirements").mkdir(parents=True)
    (root / "requirements" / "runtime.txt").write_text("one==1.0\n")
    shutil.copy(ROOT / "roundhouse", root)
    return Launcher(root)


@pytest.fixture
def installed(launcher: Launcher) -> Launcher:
    launcher.machine(TOO_OLD)
    executable(launcher.root / ".venv" / "bin" / "python", ECHO)
    shutil.copy(
        launcher.root / "requirements" / "runtime.txt",
        launcher.root / ".venv" / "installed-runtime.txt",
    )
    return launcher


def test_it_runs_the_command_from_any_folder(installed: Launcher, tmp_path: Path) -> None:
    result = installed.run("ask", "a question", cwd=tmp_path)

    expected = f"PYTHONPATH={installed.root} in {tmp_path}: -P -m cli ask a question\n"
    assert (result.stdout, result.stderr) == (expected, "")


def test_it_is_found_through_links(installed: Launcher, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "direct").symlink_to(installed.root / "roundhouse")
    (elsewhere / "rh").symlink_to("direct")

    result = installed.run("status", script=elsewhere / "rh", cwd=tmp_path)

    assert f"PYTHONPATH={installed.root} " in result.stdout


def test_a_python_that_is_too_old_is_named_with_what_to_install(launcher: Launcher) -> None:
    launcher.machine(TOO_OLD)

    result = launcher.run("up")

    assert result.returncode == 1
    assert "needs Python 3.11 or later; the python3 here is: 3.9.2." in result.stderr
    assert "apt install python3" in result.stderr
    assert not (launcher.root / ".venv").exists()


def test_a_missing_venv_module_is_named_with_what_to_install(launcher: Launcher) -> None:
    launcher.machine(WITHOUT_VENV)

    result = launcher.run("up")

    assert result.returncode == 1
    assert "has no venv module" in result.stderr
    assert "apt install python3-venv" in result.stderr


def test_an_install_that_fails_shows_why_and_is_tried_again(launcher: Launcher) -> None:
    launcher.machine(WITHOUT_PACKAGES)

    for _ in range(2):
        result = launcher.run("up")

        assert result.returncode == 1
        assert "ERROR: no such index" in result.stderr
        assert "The packages could not be installed" in result.stderr


def test_it_installs_once_and_again_only_when_the_requirements_changed(
    launcher: Launcher,
) -> None:
    launcher.machine(INSTALLING)

    first, second = launcher.run("up"), launcher.run("up")
    (launcher.root / "requirements" / "runtime.txt").write_text("one==2.0\n")
    third = launcher.run("up")

    assert "Installing the packages" in first.stderr
    assert second.stderr == ""
    assert "Installing the packages" in third.stderr
    assert [result.stdout for result in (first, second, third)] == ["ran -P -m cli up\n"] * 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_checkout_that_cannot_be_written_says_who_has_to_install(launcher: Launcher) -> None:
    launcher.machine(INSTALLING)
    launcher.root.chmod(0o500)

    result = launcher.run("up")

    assert result.returncode == 1
    assert "may not write to" in result.stderr
