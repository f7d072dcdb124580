"""NVIDIA's real binding on a fake library: two cards, missing readings, lost cards, no driver."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.vram_monitor.samplers.nvml import NvmlSampler
from services.vram_monitor.samplers.port import SamplerUnavailableError
from shared.events.gpu import Device, DeviceProcess
from tests.fakes import nvml
from tests.fakes.nvml import TWO_GPUS, FakeHardware
from tests.waiting import until


async def test_every_card_is_read_with_all_that_it_tells(hardware: FakeHardware) -> None:
    first, second = await NvmlSampler().sample()

    assert first == Device(
        index=0,
        uuid="GPU-a",
        name="Fake 24G",
        kind="gpu",
        total_mib=24576,
        used_mib=9588,
        utilization_percent=97.0,
        power_w=341.0,
        energy_j=123.456,
        temperature_c=71.0,
        processes=(DeviceProcess(pid=777, used_mib=9200),),
    )
    assert (second.uuid, second.used_mib, second.processes) == ("GPU-b", 300, ())


@pytest.mark.parametrize(
    ("call", "field", "expected"),
    [
        ("nvmlDeviceGetUtilizationRates", "utilization_percent", None),
        ("nvmlDeviceGetPowerUsage", "power_w", None),
        ("nvmlDeviceGetTotalEnergyConsumption", "energy_j", None),
        ("nvmlDeviceGetTemperature", "temperature_c", None),
        ("nvmlDeviceGetComputeRunningProcesses_v3", "processes", ()),
    ],
)
async def test_a_reading_that_a_card_does_not_offer_is_absent(
    hardware: FakeHardware, call: str, field: str, expected: object
) -> None:
    hardware.set(*TWO_GPUS, f"error {nvml.NOT_SUPPORTED} {call} 1")

    first, second = await NvmlSampler().sample()

    assert getattr(first, field) != expected
    assert getattr(second, field) == expected
    assert second.used_mib == 300


async def test_a_lost_card_is_left_out_until_it_is_back(hardware: FakeHardware) -> None:
    sampler = NvmlSampler()
    await sampler.sample()

    hardware.set(*TWO_GPUS, f"error {nvml.GPU_IS_LOST} nvmlDeviceGetMemoryInfo 0")
    assert [device.uuid for device in await sampler.sample()] == ["GPU-b"]

    hardware.set(*TWO_GPUS)
    assert [device.uuid for device in await sampler.sample()] == ["GPU-a", "GPU-b"]


async def test_a_card_that_cannot_tell_its_memory_counts_as_none(hardware: FakeHardware) -> None:
    hardware.set(TWO_GPUS[0], f"error {nvml.NOT_SUPPORTED} nvmlDeviceGetMemoryInfo -1")

    with pytest.raises(
        SamplerUnavailableError, match="none of 1 GPUs tells how full its memory is"
    ):
        await NvmlSampler().sample()


@pytest.mark.parametrize("call", ["nvmlInitWithFlags", "nvmlDeviceGetCount_v2"])
async def test_a_driver_that_goes_and_comes_back_is_opened_again(
    hardware: FakeHardware, call: str
) -> None:
    sampler = NvmlSampler()
    hardware.set(*TWO_GPUS, f"error {nvml.DRIVER_NOT_LOADED} {call} -1")

    with pytest.raises(SamplerUnavailableError, match="Driver Not Loaded"):
        await sampler.sample()
    hardware.set(*TWO_GPUS)

    assert len(await sampler.sample()) == 2


async def test_a_wedged_driver_does_not_stop_the_service(hardware: FakeHardware) -> None:
    sampler = NvmlSampler(timeout_s=0.05)
    hardware.set(*TWO_GPUS, "hang nvmlDeviceGetMemoryInfo")

    with pytest.raises(SamplerUnavailableError, match=r"no answer within 0\.05 s"):
        await sampler.sample()
    with pytest.raises(SamplerUnavailableError, match="has not returned"):
        await sampler.sample()
    hardware.set(*TWO_GPUS)

    async def answers() -> bool:
        try:
            return len(await sampler.sample()) == 2
        except SamplerUnavailableError:
            return False

    assert await until(answers)


async def test_without_the_binding_the_source_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)

    with pytest.raises(SamplerUnavailableError, match="nvidia-ml-py is not installed"):
        await NvmlSampler().sample()


def test_without_a_driver_on_the_machine_the_source_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / nvml.LIBRARY).write_text("no library")
    script = (
        "import asyncio\n"
        "from services.vram_monitor.samplers.nvml import NvmlSampler\n"
        "asyncio.run(NvmlSampler().sample())\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "SamplerUnavailableError: NVML Shared Library Not Found" in run.stderr
