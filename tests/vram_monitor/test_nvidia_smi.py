"""NVIDIA's command line tool, played by a script on the PATH."""

from pathlib import Path

import pytest

from services.vram_monitor.samplers.nvidia_smi import FIELDS, NvidiaSmiSampler, parse
from services.vram_monitor.samplers.port import SamplerUnavailableError

GOOD = "0, GPU-a, NVIDIA GeForce RTX 3090, 24576, 9588, 97, 341.25, 71\n"
BLANK = "1, GPU-b, NVIDIA GeForce RTX 3060, 12288, 300, [N/A], [Not Supported], 38\n"
LOST = "2, GPU-c, NVIDIA T4, [GPU is lost], [GPU is lost], [N/A], [N/A], [N/A]\n"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "nvidia-smi"


def install(tool: Path, body: str) -> None:
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(0o755)


async def test_the_tool_is_asked_for_the_fields_that_are_parsed(tool: Path) -> None:
    wanted = f"--query-gpu={','.join(FIELDS)} --format=csv,noheader,nounits"
    install(tool, f'[ "$*" = "{wanted}" ] && printf %s "{GOOD}"')

    (device,) = await NvidiaSmiSampler().sample()

    assert device.name == "NVIDIA GeForce RTX 3090"
    assert (device.total_mib, device.used_mib) == (24576, 9588)
    assert (device.power_w, device.utilization_percent, device.temperature_c) == (341.25, 97, 71)


def test_what_the_tool_cannot_tell_is_absent_and_a_lost_card_left_out() -> None:
    first, second = parse(GOOD + BLANK + LOST)

    assert (first.uuid, second.uuid) == ("GPU-a", "GPU-b")
    assert (second.utilization_percent, second.power_w, second.temperature_c) == (None, None, 38)


def test_text_that_is_no_answer_is_passed_over() -> None:
    assert parse("Failed to initialize NVML: Driver/library version mismatch\n\n0, x\n") == ()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param("echo 'No devices were found'; exit 6", "No devices were found", id="no GPU"),
        pytest.param("exit 9", "nvidia-smi failed", id="silent failure"),
        pytest.param("echo", "no GPU tells how full its memory is", id="empty answer"),
        pytest.param("exec sleep 60", "no answer within 0.2 s", id="hung"),
    ],
)
async def test_a_tool_that_fails_makes_the_source_unavailable(
    tool: Path, body: str, reason: str
) -> None:
    install(tool, body)

    with pytest.raises(SamplerUnavailableError, match=reason):
        await NvidiaSmiSampler(timeout_s=0.2).sample()


async def test_without_the_tool_the_source_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SamplerUnavailableError, match="cannot be run: No such file or directory"):
        await NvidiaSmiSampler().sample()
