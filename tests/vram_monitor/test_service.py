"""The service on a real store."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
import redis.asyncio
import structlog

from services.vram_monitor.app import create_app
from services.vram_monitor.settings import Settings
from shared.bus.configuration import store_configuration
from shared.bus.keys import Keys
from shared.config import Config, Timing
from shared.events.base import Event
from shared.events.gpu import GpuPressureChanged, GpuSampled
from shared.events.operations import AlertRaised, AlertResolved
from shared.service import Service
from tests.fakes.nvml import GPU_IS_LOST, TWO_GPUS, FakeHardware
from tests.servers import Store
from tests.waiting import until

FAST = Config(timing=Timing(heartbeat_s=0.02))
LOST = f"error {GPU_IS_LOST} nvmlDeviceGetMemoryInfo"


class Stream:
    """What the service published of one contract."""

    def __init__(self, client: redis.asyncio.Redis, key: str, kind: type[Event]) -> None:
        self._client, self._key, self._kind = client, key, kind

    async def events(self) -> list[Event]:
        rows = await self._client.xrange(self._key)
        return [self._kind.model_validate_json(fields[b"data"]) for _, fields in rows]

    async def has(self, count: int) -> bool:
        return len(await self.events()) >= count


@pytest.fixture
async def service(
    session_store: Store, client: redis.asyncio.Redis, keys: Keys, hardware: FakeHardware
) -> AsyncIterator[Service]:
    service = create_app(Settings(redis_url=session_store.url, node="box"))
    await store_configuration(client, keys, FAST, "test")
    await service.start()
    yield service
    await service.stop()


@pytest.fixture
def samples(service: Service, client: redis.asyncio.Redis, keys: Keys) -> Stream:
    return Stream(client, keys.stream(GpuSampled), GpuSampled)


async def test_it_samples_every_device_at_every_heartbeat(
    service: Service, samples: Stream
) -> None:
    await until(lambda: samples.has(3))

    last = (await samples.events())[-1]
    assert isinstance(last, GpuSampled)
    assert (last.node, last.sampler) == ("box", "nvml")
    assert [(device.uuid, device.used_mib) for device in last.devices] == [
        ("GPU-a", 9588),
        ("GPU-b", 300),
    ]
    await until(lambda: service.readiness()["ready"])


async def test_a_lost_card_raises_an_alert_each_time(
    service: Service,
    samples: Stream,
    hardware: FakeHardware,
    client: redis.asyncio.Redis,
    keys: Keys,
) -> None:
    raised = Stream(client, keys.stream(AlertRaised), AlertRaised)
    resolved = Stream(client, keys.stream(AlertResolved), AlertResolved)
    await until(lambda: samples.has(1))

    for times in (1, 2):
        hardware.set(*TWO_GPUS, f"{LOST} 1")
        await until(partial(raised.has, times))
        hardware.set(*TWO_GPUS)
        await until(partial(resolved.has, times))

    assert {event.subject for event in await raised.events()} == {"gpu_lost:box:GPU-b"}


async def test_it_is_not_ready_while_no_card_of_a_node_with_cards_answers(
    service: Service, samples: Stream, hardware: FakeHardware
) -> None:
    await until(lambda: service.readiness()["ready"])

    hardware.set(*TWO_GPUS, f"{LOST} -1")

    await until(lambda: service.readiness()["checks"]["devices"] == "no GPU answers")


async def test_pressure_is_published(
    service: Service,
    samples: Stream,
    hardware: FakeHardware,
    client: redis.asyncio.Redis,
    keys: Keys,
) -> None:
    changes = Stream(client, keys.stream(GpuPressureChanged), GpuPressureChanged)
    await until(lambda: samples.has(1))

    hardware.set("gpu GPU-a 1000 990 0 0 0 0", "gpu GPU-b 1000 900 0 0 0 0")

    await until(lambda: changes.has(2))
    assert [(event.uuid, event.pressure) for event in await changes.events()] == [  # type: ignore[attr-defined]
        ("GPU-a", "critical"),
        ("GPU-b", "high"),
    ]


async def test_nothing_is_logged_per_sample(service: Service, samples: Stream) -> None:
    await until(lambda: samples.has(2))
    before = len(await samples.events())

    with structlog.testing.capture_logs() as logs:
        await until(lambda: samples.has(before + 20))

    assert logs == []
