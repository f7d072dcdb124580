"""What the Dockerfile makes, made without docker: its files in a folder, its packages beside."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.house.sources import ROOT

DOCKERFILE = ROOT / "compose" / "Dockerfile"
NOBODY = 65_534
INTERPRETER = Path(sys.executable).resolve()


@dataclass(frozen=True)
class Instruction:
    name: str
    rest: str
    stage: int


@cache
def instructions(path: Path = DOCKERFILE) -> list[Instruction]:
    text = re.sub(r"(?m)^#.*\n", "", path.read_text()).replace("\\\n", " ")
    found, stage = [], -1
    for line in filter(None, text.splitlines()):
        name, _, rest = line.partition(" ")
        stage += name == "FROM"
        found.append(Instruction(name, " ".join(rest.split()), stage))
    return found


def final_stage(name: str) -> list[str]:
    last = instructions()[-1].stage
    return [each.rest for each in instructions() if (each.name, each.stage) == (name, last)]


def copied() -> Iterator[tuple[str, str]]:
    """What the final stage takes from the checkout, and where below the working folder it goes."""
    for rest in final_stage("COPY"):
        *sources, target = rest.split()
        if not rest.startswith("--from"):
            for source in sources:
                yield source, Path(source).name if target == "./" else target


def environment() -> dict[str, str]:
    pairs = (each.split("=", 1) for rest in final_stage("ENV") for each in rest.split())
    return dict(pairs)  # type: ignore[arg-type]


def pinned(name: str) -> dict[str, Requirement]:
    """What requirements/<name>.txt names, by package."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    found = (Requirement(line.removesuffix("\\")) for line in lines if re.match(r"[a-z]", line))
    return {each.name: each for each in found}


@dataclass(frozen=True)
class Image:
    """`app` and `packages` are what is in the image; a container may not write to either."""

    folder: Path

    @property
    def app(self) -> Path:
        return self.folder / "app"

    @property
    def packages(self) -> Path:
        return self.folder / "packages"

    @property
    def python(self) -> Path:
        """That of this machine, or a copy where it lies in a folder that is somebody's alone."""
        copy = self.folder / "python" / "bin" / INTERPRETER.name
        return copy if copy.exists() else INTERPRETER

    @property
    def user(self) -> dict[str, int]:
        """As whom a container runs; as ourselves, where only root could change that."""
        return {"user": NOBODY, "group": NOBODY} if os.getuid() == 0 else {}

    def build(self) -> "Image":
        self.folder.mkdir()
        for source, target in copied():
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy2
            (self.app / target).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / source, self.app / target)
        if self.user and not _runs_for_nobody(INTERPRETER):
            self._copy_python()
        self.packages.mkdir()
        for requirement in pinned("image").values():
            if requirement.marker is None or requirement.marker.evaluate():
                self._install(requirement)
        for path in (self.folder, *self.folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() or path == self.python else 0o444)
        return self

    def start(
        self, arguments: list[str], environment_of_it: dict[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """As the image's entry point does, with a container's environment and nothing else."""
        with log.open("ab") as file:
            return subprocess.Popen(
                [self.python, "-S", *entry_point()[1:], *arguments],
                env=self._environment(environment_of_it),
                cwd=self.app,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                **self.user,  # type: ignore[arg-type]
            )

    def is_ready(self, port: int) -> bool:
        """What the health check of a container says."""
        check = [self.python, "-S", self.app / "compose" / "ready.py"]
        told = self._environment({"ROUNDHOUSE_PORT": str(port)})
        return subprocess.run(check, env=told, capture_output=True, check=False).returncode == 0

    def scratch(self, name: str) -> Path:
        """A volume: a folder beside the image that whoever runs in it may write."""
        folder = self.folder.with_name(name)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        return folder

    def files(self) -> set[Path]:
        return set(self.folder.rglob("*"))

    def _environment(self, given: dict[str, str]) -> dict[str, str]:
        found = {name: value for name, value in environment().items() if name != "PATH"}
        found |= {
            "PYTHONPATH": f"{self.app}:{self.packages}",
            "LD_LIBRARY_PATH": str(self.folder / "python" / "lib"),
        }
        return found | given

    def _copy_python(self) -> None:
        library = Path(sysconfig.get_path("stdlib"))
        target = self.folder / "python"
        (target / "bin").mkdir(parents=True)
        shutil.copy2(INTERPRETER, target / "bin")
        unneeded = shutil.ignore_patterns("site-packages", "test", "idlelib", "config-*")
        shutil.copytree(library, target / "lib" / library.name, ignore=unneeded, symlinks=True)
        for shared in library.parent.glob("libpython3*.so*"):
            shutil.copy2(shared, target / "lib")

    def _install(self, requirement: Requirement) -> None:
        """From where it is installed here; that the versions agree is part of the test."""
        installed = distribution(requirement.name)
        assert requirement.specifier.contains(installed.version), requirement
        for name in {file.parts[0] for file in installed.files or () if file.parts[0] != ".."}:
            source, target = Path(str(installed.locate_file(name))), self.packages / name
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            elif source.is_file():
                shutil.copy2(source, target)


def entry_point() -> list[str]:
    return re.findall(r'"([^"]+)"', final_stage("ENTRYPOINT")[0])


def _runs_for_nobody(python: Path) -> bool:
    try:
        tried = subprocess.run([python, "-c", ""], user=NOBODY, check=False, capture_output=True)
    except PermissionError:
        return False
    return tried.returncode == 0
