"""What the monitor says about a series of readings."""

from services.vram_monitor.readings import Readings
from shared.events.gpu import Device, GpuPressureChanged
from shared.events.operations import AlertRaised, AlertResolved


def gpu(uuid: str, used_mib: int = 1000) -> Device:
    return Device(index=0, uuid=uuid, name="Fake", kind="gpu", total_mib=10_000, used_mib=used_mib)


HOST = Device(index=0, uuid="host", name="host", kind="host", total_mib=64_000, used_mib=1)


def test_every_reading_is_a_sample() -> None:
    readings = Readings("box")

    sample, changes = readings.on_reading("nvml", [gpu("a"), gpu("b")])

    assert changes == []
    assert (sample.node, sample.sampler) == ("box", "nvml")
    assert [device.uuid for device in sample.devices] == ["a", "b"]


def test_a_change_of_pressure_is_said_once_per_device() -> None:
    readings = Readings("box")

    said = [
        event
        for used_mib in (1000, 9000, 9100, 9900, 100)
        for event in readings.on_reading("nvml", [gpu("a", used_mib), gpu("b")])[1]
        if isinstance(event, GpuPressureChanged)
    ]

    assert [(event.uuid, event.pressure) for event in said] == [
        ("a", "high"),
        ("a", "critical"),
        ("a", "normal"),
    ]


def test_a_lost_gpu_raises_an_alert_and_its_return_resolves_it() -> None:
    readings = Readings("box")
    readings.on_reading("nvml", [gpu("a"), gpu("b")])

    _, [raised] = readings.on_reading("nvml", [gpu("b")])
    _, nothing = readings.on_reading("nvml", [gpu("b")])
    _, [resolved] = readings.on_reading("nvml", [gpu("a"), gpu("b")])

    assert nothing == []
    assert isinstance(raised, AlertRaised)
    assert raised.alert == "gpu_lost:box:a"
    assert "Fake (a) on node box no longer answers" in raised.summary
    assert isinstance(resolved, AlertResolved)
    assert resolved.alert == raised.alert


def test_a_node_whose_gpus_fell_silent_never_offers_its_host_memory_instead() -> None:
    readings = Readings("box")
    readings.on_reading("nvml", [gpu("a")])

    sample, [raised] = readings.on_reading("host", [HOST])

    assert sample.devices == ()
    assert isinstance(raised, AlertRaised)


def test_a_node_without_gpus_offers_its_host_memory() -> None:
    sample, _ = Readings("box").on_reading("host", [HOST])

    assert sample.devices == (HOST,)
