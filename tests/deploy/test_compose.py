"""compose.yaml is well-formed, complete, and as closed as the documentation says."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.composed import (
    FILLED_IN,
    MAIN,
    OVERLAYS,
    SERVICE_FOLDERS,
    as_a_stack,
    document,
    interpolated,
    module,
    ours,
    services,
)
from tests.house.sources import ROOT

Json = dict[str, Any]

OUTWARD = {"edge", "engines"}

has_docker = shutil.which("docker") is not None
has_compose = (
    has_docker
    and not subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    ).returncode
)

each_service = pytest.mark.parametrize("name", services())
each_of_ours = pytest.mark.parametrize("name", ours())
each_file = pytest.mark.parametrize("path", [MAIN, *OVERLAYS], ids=lambda path: path.name)


def is_a_job(service: Json) -> bool:
    """Runs once and ends."""
    return bool(service["restart"] == "no")


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


# Form


@each_file
def test_a_file_follows_the_compose_specification(path: Path) -> None:
    checked = run(
        ROOT / ".venv/bin/check-jsonschema", "--builtin-schema", "vendor.compose-spec", path
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.skipif(not has_docker, reason="no docker client here")
def test_docker_takes_the_core_as_a_stack(tmp_path: Path) -> None:
    stack = tmp_path / "stack.yaml"
    stack.write_text(yaml.safe_dump(as_a_stack()))

    taken = run("docker", "stack", "config", "--compose-file", stack, env=os.environ | FILLED_IN)

    assert taken.returncode == 0, taken.stderr
    assert set(yaml.safe_load(taken.stdout)["services"]) == set(as_a_stack()["services"])


@pytest.mark.skipif(not has_compose, reason="no docker compose here")
@each_file
def test_docker_compose_takes_it(path: Path, tmp_path: Path) -> None:
    filled_in = tmp_path / "env"
    filled_in.write_text("".join(f"{name}={value}\n" for name, value in FILLED_IN.items()))
    files = ["--file", MAIN, *(["--file", path] if path != MAIN else [])]

    taken = run("docker", "compose", "--env-file", filled_in, *files, "config", "--quiet")

    assert taken.returncode == 0, taken.stderr


# Hardening


@each_service
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = services()[name]
    user, group = service["user"].split(":")

    assert int(user) > 0
    assert int(group) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert any(each.startswith("/tmp:size=") for each in service["tmpfs"])
    granted = {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"}
    assert not granted & service.keys()
    assert not [each for each in service.get("volumes", ()) if "docker.sock" in each]


@each_service
def test_a_service_of_ours_runs_as_the_user_of_the_image(name: str) -> None:
    if "ROUNDHOUSE_IMAGE" in services()[name]["image"]:
        assert services()[name]["user"] == "10001:10001"


@each_file
def test_only_the_gateway_is_published_and_only_to_this_machine(path: Path) -> None:
    published = {
        name: ports for name, each in services(path).items() if (ports := each.get("ports"))
    }
    if path == MAIN:
        assert published.keys() == {"gateway"}
    for port in (port for ports in published.values() for port in ports):
        assert port.startswith("127.0.0.1:"), port


def test_what_an_open_gateway_needs_is_said_only_where_docker_closes_it() -> None:
    open_to_all = {
        name for name, each in ours().items() if "ROUNDHOUSE_ALLOW_REMOTE" in each["environment"]
    }
    assert open_to_all == {"gateway"}


def test_stores_reach_nobody_outside_and_nobody_outside_reaches_them() -> None:
    networks = document()["networks"]

    assert {name for name, each in networks.items() if not each.get("internal")} == OUTWARD
    assert not OUTWARD & {*services()["valkey"]["networks"], *services()["postgres"]["networks"]}


def test_postgres_is_reached_by_its_owner_alone() -> None:
    neighbours = {name for name, each in services().items() if "records" in each["networks"]}
    assert neighbours == {"postgres", "audit-logger"}


def test_engines_are_reached_by_the_worker_alone() -> None:
    neighbours = {name for name, each in services().items() if "engines" in each["networks"]}
    assert neighbours == {"inference-worker"}


def test_n8n_has_no_way_to_the_store() -> None:
    assert services()["n8n"]["networks"] == ["edge"]
    assert "REDIS_URL" not in services()["n8n"]["environment"]


@each_service
def test_no_name_keeps_a_service_from_having_replicas(name: str) -> None:
    assert not {"hostname", "container_name"} & services()[name].keys()


@each_service
def test_an_image_is_named_with_its_version(name: str) -> None:
    image = interpolated(services()[name]["image"], {})
    assert re.search(r":[\w.-]*(\d|local)", image), image
    assert not image.endswith("latest")


@each_service
def test_logs_are_bounded(name: str) -> None:
    assert services()[name]["logging"]["options"].keys() == {"max-size", "max-file"}


# Start


@each_service
def test_a_service_says_whether_it_is_healthy(name: str) -> None:
    check = services()[name]["healthcheck"]
    if is_a_job(services()[name]):
        assert check == {"disable": True}
    else:
        assert check.keys() >= {"test", "interval", "timeout", "retries", "start_period"}


@each_of_ours
def test_a_service_starts_after_what_it_needs_is_healthy(name: str) -> None:
    needs = ours()[name]["depends_on"]

    assert needs["valkey"] == {"condition": "service_healthy"}
    assert needs["configuration"] == {"condition": "service_completed_successfully"}
    for needed, how in needs.items():
        job = is_a_job(services()[needed])
        wanted = "service_completed_successfully" if job else "service_healthy"
        assert how["condition"] == wanted, needed


def test_every_service_has_a_block_and_every_block_a_service() -> None:
    """The fourth step of adding a service, see CONTRIBUTING.md."""
    blocks = {(module(each) or "").removeprefix("services."): name for name, each in ours().items()}

    assert not SERVICE_FOLDERS - blocks.keys()
    assert not blocks.keys() - SERVICE_FOLDERS
    for folder, name in blocks.items():
        assert name == folder.replace("_", "-")
