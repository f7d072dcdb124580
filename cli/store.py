"""The command line's connection to the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError

from cli.address import environment, redis_url
from cli.errors import UserError
from cli.output import OWN_ERRORS
from cli.supervisor.probes import without_password
from shared.bus.connection import UNAVAILABLE, is_out_of_memory, make_client
from shared.bus.envelope import envelope
from shared.bus.keys import Keys
from shared.bus.requester import Requester, StoreFullError, StoreUnavailableError
from shared.bus.scripts import script
from shared.bus.writer import Writer
from shared.events.base import Event
from shared.instances import new_instance
from shared.log import silenced

SOURCE = "cli"


@dataclass(frozen=True)
class Connection:
    client: Redis
    writer: Writer
    keys: Keys

    def requester(self, name: str = "") -> Requester:
        """`name` of its reply stream, at most 48 characters; this process's own if left out."""
        name = name or f"{SOURCE}-{new_instance()}"
        return Requester(self.client, self.writer, self.keys, SOURCE, name)

    async def leads(self, service: str) -> bool:
        """Whether one process of a service that has a leader (router, model-manager) leads now."""
        return bool(await self.client.exists(self.keys.lease(service)))

    async def publish(self, event: Event, event_id: str, node: str | None = None) -> str | None:
        """The entry's id; None where this id was published in the last ten minutes."""
        reply = await self.writer.run(
            script("publish"),
            keys={
                "stream": self.keys.stream(type(event), node),
                "guard": self.keys.published(event_id),
            },
            events={"event": envelope(event, SOURCE, event_id=event_id)},
        )
        return str(reply[1].decode()) if reply[0] == b"ok" else None


@asynccontextmanager
async def connected(data: Path | None = None) -> AsyncIterator[Connection]:
    """Connect to the store that runs. Raise `UserError` where none answers, or no longer."""
    url = redis_url(data)
    shown = without_password(url)
    client = await _client(url, shown)
    writer = Writer(client)
    try:
        with silenced():  # what the bus logs would stand between the lines of an answer
            yield Connection(client, writer, Keys(environment().get("ROUNDHOUSE_PREFIX", "rh:")))
    except (StoreUnavailableError, *UNAVAILABLE) as error:
        if isinstance(error, OSError) and error.errno in OWN_ERRORS:
            raise  # of our own output, not of the store
        raise UserError(
            f"The store at {shown} went away, and may or may not have taken this.",
            "See ./roundhouse status; then look before you try again.",
        ) from error
    except (StoreFullError, RedisError) as error:
        if isinstance(error, RedisError) and not is_out_of_memory(error):
            raise
        raise UserError(
            f"The memory of the store at {shown} is full: it takes no new work.",
            "Wait until what waits has drained, or raise its maxmemory.",
        ) from error
    finally:
        await writer.close()
        await client.aclose()


async def _client(url: str, shown: str) -> Redis:
    client: Redis | None = None
    try:
        client = make_client(url)
        await client.ping()
    except ValueError as error:
        raise UserError(
            f"REDIS_URL is no address of a store: {error}.",
            "Write it like redis://127.0.0.1:6379/0 or unix:///path/to/socket.",
        ) from error
    except AuthenticationError as error:
        raise UserError(
            f"The store at {shown} refused the password.", "Put the right one into REDIS_URL."
        ) from error
    except (RedisError, OSError) as error:
        raise UserError(
            f"No store answers at {shown}: {str(error).rstrip('.') or type(error).__name__}.",
            "See ./roundhouse status, or start one with ./roundhouse up.",
        ) from error
    return client
