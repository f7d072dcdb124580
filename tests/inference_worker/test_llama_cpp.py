"""Embedded llama.cpp: files that are missing or broken, children that die, freeze or hang."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest

from services.inference_worker.backends import child
from services.inference_worker.backends.llama_cpp import LlamaCpp
from services.inference_worker.backends.model_files import TINY_FILE, ModelFiles
from services.inference_worker.backends.port import BackendError, Call, Delta, Profile
from services.inference_worker.tiny_model import generate
from shared.config.models import ModelConfig
from shared.events.base import Operation
from shared.events.inference import FailureReason
from tests.llama_servers import llama_servers
from tests.waiting import until

SMALL = Profile("tiny", 512, 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    generate(folder / "models" / TINY_FILE)
    return folder


@pytest.fixture
async def backend(data: Path) -> AsyncIterator[LlamaCpp]:
    backend = LlamaCpp({}, data)
    yield backend
    await backend.close()


@pytest.fixture(autouse=True)
def no_child_is_left_behind() -> Iterator[None]:
    yield
    assert not llama_servers()


def configured(path: Path | str, **more: object) -> ModelConfig:
    return ModelConfig.model_validate({"engine": "llama_cpp", "path": str(path), **more})


def child_pid() -> int:
    (only,) = llama_servers()
    return only.pid


async def test_a_configured_file_is_described_by_its_own_metadata(data: Path) -> None:
    tiny = data / "models" / TINY_FILE
    backend = LlamaCpp({"noise": configured(tiny, context_tokens=50_000, slots=3)}, data)

    model, _ = await backend.models()

    assert model.name == "noise"
    assert model.context_tokens == 16_384, "more than it was trained for helps nobody"
    assert model.slots == 3
    assert model.need_mib == 77, "weights 1, cache 12, buffers 64"


async def test_a_missing_or_broken_file_is_left_out_and_a_later_one_is_found(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, but no more")
    late = tmp_path / "late.gguf"
    models = {
        "absent": configured(tmp_path / "absent.gguf"),
        "broken": configured(tmp_path / "broken.gguf"),
        "folder": configured(tmp_path),
        "late": configured(late),
    }
    models["nobody"] = configured(Path("~nobody-of-that-name/m.gguf"))
    files = ModelFiles(models, data / "models")

    assert await files.inventory() == []
    assert set(files.problems) == set(models)
    assert "absent.gguf cannot be read for absent: No such file" in files.problems["absent"]
    late.write_bytes((data / "models" / TINY_FILE).read_bytes())
    assert [model.name for model in await files.inventory()] == ["late"]
    assert "late" not in files.problems


@pytest.mark.parametrize(
    ("name", "problem"),
    [("absent", "No such file"), ("broken", "ends in the middle"), ("else", "no llama_cpp model")],
)
async def test_loading_what_cannot_be_read_says_why(
    data: Path, tmp_path: Path, name: str, problem: str
) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    models = {each: configured(tmp_path / f"{each}.gguf") for each in ("absent", "broken")}

    with pytest.raises(BackendError, match=problem) as refused:
        await LlamaCpp(models, data).load(Profile(name, 512, 1))

    assert refused.value.reason is FailureReason.REFUSED


async def test_weights_that_llama_cpp_refuses_are_reported_in_its_words(
    data: Path, tmp_path: Path
) -> None:
    whole = (data / "models" / TINY_FILE).read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:200_000])
    backend = LlamaCpp({"cut": configured(tmp_path / "cut.gguf")}, data)

    with pytest.raises(BackendError, match="corrupted or incomplete") as crashed:
        await backend.load(Profile("cut", 512, 1))

    assert crashed.value.reason is FailureReason.CRASHED
    assert not await backend.resident()


async def test_the_tiny_model_is_generated_when_it_is_first_loaded(tmp_path: Path) -> None:
    backend = LlamaCpp({}, tmp_path)
    assert [model.name for model in await backend.models()] == ["tiny"]
    assert not (tmp_path / "models").exists()

    await backend.load(SMALL)

    assert [resident.model for resident in await backend.resident()] == ["tiny"]
    await backend.close()


async def test_another_profile_replaces_the_one_that_is_loaded(backend: LlamaCpp) -> None:
    await backend.load(SMALL)
    first = child_pid()

    await backend.load(Profile("tiny", 1024, 2))

    (resident,) = await backend.resident()
    assert resident.context_tokens == 1024
    assert child_pid() != first


async def test_a_call_for_a_model_that_is_not_loaded_says_so(backend: LlamaCpp) -> None:
    with pytest.raises(BackendError) as absent:
        await anext(backend.stream(Call(SMALL, Operation.COMPLETION, {"prompt": "x"})))

    assert absent.value.reason is FailureReason.NOT_RESIDENT


async def test_a_load_that_is_given_up_leaves_no_process(backend: LlamaCpp) -> None:
    load = asyncio.create_task(backend.load(SMALL))
    await until(llama_servers)

    load.cancel()
    with suppress(asyncio.CancelledError):
        await load

    assert not llama_servers()
    assert not await backend.resident()


async def test_a_load_that_takes_too_long_is_ended(data: Path) -> None:
    launch = child.Launch(
        path=data / "models" / TINY_FILE,
        profile=SMALL,
        log=data / "logs" / "slow.log",
        ready_s=0.01,
        connect_s=5.0,
    )

    with pytest.raises(BackendError) as late:
        await child.start(launch)

    assert late.value.reason is FailureReason.TIMED_OUT


async def test_an_unload_takes_no_longer_than_the_kill_of_a_frozen_process(
    backend: LlamaCpp,
) -> None:
    await backend.load(SMALL)
    frozen = psutil.Process(child_pid())
    frozen.suspend()
    await until(lambda: frozen.status() == psutil.STATUS_STOPPED)
    began_s = monotonic()

    await backend.unload("tiny")

    assert 1.5 < monotonic() - began_s < 4
    assert not llama_servers()


async def test_a_healthy_process_is_gone_long_before_it_would_be_killed(backend: LlamaCpp) -> None:
    await backend.load(SMALL)
    began_s = monotonic()

    await backend.unload("tiny")

    assert monotonic() - began_s < 1


async def test_a_model_can_be_loaded_again_after_its_process_died(backend: LlamaCpp) -> None:
    await backend.load(SMALL)
    os.kill(child_pid(), signal.SIGKILL)
    await until(lambda: not llama_servers())

    await backend.load(SMALL)

    call = Call(SMALL, Operation.COMPLETION, {"prompt": "x", "ignore_eos": True}, 4)
    assert isinstance(await anext(backend.stream(call)), Delta)


async def test_the_engines_log_holds_no_prompt(backend: LlamaCpp, data: Path) -> None:
    await backend.load(SMALL)
    for text in ("my-secret-word", "my-secret-word " * 500):
        body = {"messages": [{"role": "user", "content": text}]}
        with suppress(BackendError):
            async for _ in backend.stream(Call(SMALL, Operation.CHAT, body, 8)):
                pass
    await backend.unload("tiny")

    logs = list((data / "logs").glob("*tiny*.log"))
    assert logs
    assert not any("secret" in log.read_text() for log in logs)


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"messages": [{"role": "user", "content": [IMAGE]}]}, id="an image"),
        pytest.param({"messages": [{"role": 7, "content": "hi"}]}, id="a role"),
        pytest.param({"tools": ["x"]}, id="tools"),
        pytest.param({"tools": [{"type": "function", "function": {}}]}, id="a tool's name"),
    ],
)
async def test_an_input_that_it_answers_500_to_is_the_callers_fault_all_the_same(
    backend: LlamaCpp, wrong: dict[str, Any]
) -> None:
    await backend.load(SMALL)
    body = {"messages": [{"role": "user", "content": "hi"}], **wrong}

    with pytest.raises(BackendError) as refused:
        async for _ in backend.stream(Call(SMALL, Operation.CHAT, body, 4)):
            pass

    assert refused.value.reason is FailureReason.BAD_INPUT
