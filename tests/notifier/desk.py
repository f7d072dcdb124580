"""What a test of the notifier does and sees."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis.asyncio
from pydantic_core import from_json

from services.notifier.app import create_app
from services.notifier.settings import Settings
from services.notifier.webhook import Caller
from shared.bus.configuration import store_configuration
from shared.bus.envelope import envelope
from shared.bus.keys import Keys
from shared.bus.notifications import NOTIFIER
from shared.config import Config, EndpointConfig
from shared.events.base import Event
from shared.events.inference import InferenceCompleted
from shared.events.notifications import NotificationQueued
from shared.service import Service
from tests.fakes.receiver import Receiver
from tests.fundamentals.tour import FAST
from tests.waiting import until

SECRET = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
SHORT_S = (0.1, 0.2, 0.3)
KEYS = Keys()
SOON_S = 30.0
"""Until what must happen has happened, also on a busy machine."""


def completed(request_id: str, **fields: Any) -> InferenceCompleted:
    given = {"attempt": 1, "model": "m", "node": "local", "engine": "fake"}
    given |= {"output": {"choices": [{"message": {"content": "secret answer"}}]}}
    return InferenceCompleted(request_id=request_id, **{**given, **fields})


@dataclass
class Desk:
    """What a test does and sees."""

    client: redis.asyncio.Redis
    url: str
    folder: Path
    endpoints: dict[str, EndpointConfig] = field(default_factory=dict)
    services: list[Service] = field(default_factory=list)

    async def configure(self, **endpoints: EndpointConfig) -> None:
        self.endpoints |= endpoints
        await self.apply()

    async def apply(self) -> None:
        config = FAST.model_copy(update={"endpoints": self.endpoints})
        await store_configuration(self.client, KEYS, Config.model_validate(config), "test")

    async def start(self, name: str = "first", caller: Caller | None = None) -> Service:
        settings = Settings(redis_url=self.url, data=self.folder, instance=name)
        service = create_app(settings, caller)
        self.services.append(service)
        await service.start()
        return service

    async def say(
        self, event: Event, attributes: Mapping[str, str] | None = None, part: str | None = None
    ) -> str:
        """Publish; the event's id."""
        fields = envelope(event, "test")
        for name, value in (attributes or {}).items():
            fields += [name, value]
        stream = KEYS.stream(type(event), part)
        await self.client.execute_command("XADD", stream, "*", *fields)
        return str(fields[3])

    async def complete(self, *request_ids: str, **attributes: str) -> None:
        for request_id in request_ids:
            await self.say(completed(request_id), attributes)

    async def said(self, event: type[Event], part: str | None = None) -> list[dict[str, Any]]:
        """The data of everything on a stream, with the entry's attributes below it."""
        rows: Any = await self.client.xrange(KEYS.stream(event, part))
        return [
            {
                **{name.decode(): value.decode() for name, value in fields.items()},
                **from_json(fields[b"data"]),
            }
            for _, fields in rows
        ]

    async def has(self, event: type[Event], count: int = 1) -> list[dict[str, Any]]:
        """Wait until so many are on the stream."""

        async def there() -> list[dict[str, Any]]:
            found = await self.said(event)
            return found if len(found) >= count else []

        return await until(there, SOON_S)

    async def settled(self, endpoint: str) -> bool:
        """Whether nothing waits for this endpoint any more."""
        stream = KEYS.stream(NotificationQueued, endpoint)
        groups: Any = await self.client.xinfo_groups(stream)
        [group] = [each for each in groups if each["name"].decode() == NOTIFIER]
        left = await self.client.exists(KEYS.deliveries(endpoint), KEYS.tries(endpoint))
        return group["pending"] == 0 and group["lag"] == 0 and left == 0


def endpoint(receiver: Receiver, **settings: Any) -> EndpointConfig:
    given = {"url": receiver.url, "secret_env": "TEST_SECRET", "allow_private": ["127.0.0.1/32"]}
    return EndpointConfig(**{**given, "timeout_s": 10.0, "retry_s": SHORT_S, **settings})


def notifier(**settings: Any) -> Service:
    """For `Processes.start`: a notifier that a test may kill."""
    os.environ["TEST_SECRET"] = SECRET
    return create_app(Settings(**settings))
