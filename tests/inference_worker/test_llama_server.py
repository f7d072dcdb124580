"""The process that serves one GGUF file: how it starts, and that it never outlives its parent."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from services.inference_worker.tiny_model import generate
from tests.waiting import until

SERVER = (sys.executable, "-m", "services.inference_worker.llama_server")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    generate(path)
    return path


@pytest.fixture
def server(tiny: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*SERVER, tiny, "--alias", "noise", "--context", "512", "--slots", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "LLAMA_SERVER_KEY": "secret"},
    )
    yield process
    process.kill()
    process.communicate()


def ready_line(process: subprocess.Popen[str]) -> dict[str, object]:
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert isinstance(line, dict)
    return line


def test_it_says_where_it_serves_once_it_does(server: subprocess.Popen[str]) -> None:
    ready = ready_line(server)

    assert ready["ready"] is True
    assert ready["pid"] == server.pid
    answer = httpx.get(f"{ready['url']}/props", headers={"Authorization": "Bearer secret"})
    assert answer.json()["total_slots"] == 3
    assert answer.json()["default_generation_settings"]["n_ctx"] == 512


def test_it_answers_only_those_who_have_its_key(server: subprocess.Popen[str]) -> None:
    url = ready_line(server)["url"]

    assert httpx.get(f"{url}/props").status_code == 401
    assert httpx.get(f"{url}/health").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_to(server: subprocess.Popen[str], number: signal.Signals) -> None:
    ready_line(server)

    server.send_signal(number)

    assert server.wait(timeout=2) == 0


@pytest.mark.parametrize("content", [None, b"", b"GGUF nonsense", "cut"])
def test_a_file_that_is_no_model_is_refused_in_one_line(
    tiny: Path, tmp_path: Path, content: bytes | str | None
) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(tiny.read_bytes()[:200_000] if isinstance(content, str) else content)

    ended = subprocess.run([*SERVER, path], capture_output=True, text=True, timeout=20, check=False)

    assert ended.returncode == 1
    assert json.loads(ended.stdout)["ready"] is False
    assert "model.gguf" in ended.stderr or "model" in ended.stderr


PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), end="", flush=True)
sys.stdin.readline()
"""


def test_it_ends_with_its_standard_input_where_it_shall(tiny: Path) -> None:
    server = subprocess.Popen(
        [*SERVER, tiny, "--until-stdin-closes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    ready_line(server)
    assert server.poll() is None

    server.communicate()

    assert server.returncode == 0


@pytest.fixture
def family(tiny: Path) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A parent, and the server that it has started."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *SERVER, str(tiny), "--until-stdin-closes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield parent, psutil.Process(int(str(ready_line(parent)["pid"])))
    parent.kill()
    parent.communicate()


FROZEN = pytest.param(
    True, marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a frozen one")
)


@pytest.mark.parametrize("frozen", [False, FROZEN], ids=["running", "frozen"])
async def test_it_dies_with_its_parent(
    family: tuple[subprocess.Popen[str], psutil.Process], frozen: bool
) -> None:
    parent, child = family
    if frozen:
        child.suspend()
        await until(lambda: child.status() == psutil.STATUS_STOPPED)

    parent.kill()

    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
