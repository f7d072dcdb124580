"""FastStream as the bus uses it: batch subscribers that hand over raw entries.

FastStream acknowledges nothing, parses nothing and validates nothing here: one bad entry would
hold up its whole batch, and its own policies lose or forget what fails.
"""

import logging
from typing import Any

from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.configs import RedisConnectionState
from faststream.redis.message import FAKE_CONSUMER, RedisBatchStreamMessage
from redis.asyncio import Redis

from shared.bus.connection import BLOCK_MS, GroupReader, make_client
from shared.bus.envelope import Entry
from shared.bus.group_read import BATCH, STOP_S, BatchHandler
from shared.bus.pace import collect


class _GroupReaderState(RedisConnectionState):
    """Gives FastStream the client that survives lost groups and connections."""

    def __init__(self, url: str) -> None:
        super().__init__({})
        self._url = url
        self.reader: GroupReader | None = None

    async def connect(self) -> Redis:
        client: GroupReader = make_client(self._url, GroupReader)
        self._client = self.reader = client
        self._connected = True
        return client


def reader(broker: RedisBroker) -> GroupReader | None:
    """What its subscribers read with; None before it is started."""
    connection = broker.config.broker_config.connection
    assert isinstance(connection, _GroupReaderState)  # noqa: S101 - made below
    return connection.reader


def failing(broker: RedisBroker) -> dict[str, str]:
    """Streams that cannot be read at the moment, and why."""
    reads = reader(broker)
    return dict(reads.failing) if reads is not None else {}


def make_broker(url: str) -> RedisBroker:
    logger = logging.getLogger("faststream")
    logger.setLevel(logging.WARNING)  # its access log writes two lines a batch
    broker = RedisBroker(url, apply_types=False, logger=logger, graceful_timeout=STOP_S)
    broker.config.broker_config.connection = _GroupReaderState(url)
    return broker


def subscribe(
    broker: RedisBroker, stream: str, group: str, consumer: str, handler: BatchHandler
) -> Any:
    """Register a group reader of one stream; it runs once the broker, or it alone, is started."""
    source = StreamSub(
        stream,
        group=group,
        consumer=consumer,
        batch=True,
        max_records=BATCH,
        polling_interval=BLOCK_MS,
    )
    subscriber = broker.subscriber(
        stream=source,
        ack_policy=AckPolicy.MANUAL,
        parser=_parse,
        decoder=_decode,
        persistent=False,
    )

    async def paced(entries: list[Entry]) -> None:
        await handler(entries)
        await collect(len(entries))

    subscriber(paced)
    return subscriber


async def _parse(message: Any) -> RedisBatchStreamMessage:
    stream = message["channel"]
    entries = [
        Entry(stream, entry_id.decode(), fields)
        for entry_id, fields in zip(message["message_ids"], message["data"], strict=True)
    ]
    return RedisBatchStreamMessage(
        raw_message=message,
        body=entries,
        consumer=FAKE_CONSUMER,
        group=None,
        headers={},
        batch_headers=[],
        path={},
        reply_to="",
        content_type=None,
        message_id=message["message_ids"][0],
        correlation_id="",
    )


async def _decode(message: Any) -> Any:
    return message.body
