"""The best source of readings that works: chosen, left, and found again."""

import sys
from pathlib import Path

import psutil
import pytest
import structlog

from services.vram_monitor.samplers.best import BestSampler
from services.vram_monitor.samplers.host import HostSampler
from services.vram_monitor.samplers.nvidia_smi import NvidiaSmiSampler
from services.vram_monitor.samplers.nvml import NvmlSampler
from services.vram_monitor.samplers.port import SamplerUnavailableError
from shared.events.gpu import Device


class Switchable:
    """A source that works while it is on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.on = True
        self.asked = 0

    async def sample(self) -> tuple[Device, ...]:
        self.asked += 1
        if not self.on:
            raise SamplerUnavailableError(f"{self.name} is off")
        return (Device(index=0, uuid=self.name, name="x", kind="gpu", total_mib=1, used_mib=0),)


async def test_the_first_that_works_is_asked_and_no_other() -> None:
    good, poor = Switchable("good"), Switchable("poor")
    best = BestSampler([good, poor])

    assert [(await best.sample(now_s))[0] for now_s in range(3)] == ["good"] * 3
    assert poor.asked == 0


async def test_one_that_fails_is_replaced_within_the_same_sample_and_tried_again_each_minute() -> (
    None
):
    good, poor = Switchable("good"), Switchable("poor")
    best = BestSampler([good, poor])
    good.on = False

    names = [(await best.sample(now_s))[0] for now_s in range(0, 60, 2)]
    assert (set(names), good.asked) == ({"poor"}, 1)
    good.on = True

    assert (await best.sample(60.0))[0] == "good"


async def test_a_sample_fails_where_no_source_answers() -> None:
    good = Switchable("good")
    good.on = False
    best = BestSampler([good])

    with pytest.raises(SamplerUnavailableError, match="good is off"):
        await best.sample(0.0)
    good.on = True

    assert (await best.sample(60.0))[0] == "good"


async def test_a_change_of_source_is_logged_and_a_sample_is_not() -> None:
    good, poor = Switchable("good"), Switchable("poor")
    best = BestSampler([good, poor])

    with structlog.testing.capture_logs() as logs:
        for now_s in range(300):
            good.on = now_s < 100
            await best.sample(float(now_s))

    assert [(entry["sampler"], entry["unavailable"]) for entry in logs] == [
        ("good", {}),
        ("poor", {"good": "good is off"}),
    ]


async def test_a_machine_without_driver_and_tool_is_read_by_its_host_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    best = BestSampler([NvmlSampler(), NvidiaSmiSampler(), HostSampler()])

    name, (device,) = await best.sample(0.0)

    assert (name, device.kind) == ("host", "host")
    assert device.total_mib == psutil.virtual_memory().total >> 20
    assert 0 < device.used_mib < device.total_mib
