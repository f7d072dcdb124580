"""Entries that nobody could handle: kept with their reason, for people to replay or drop."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.bus.envelope import Entry, attributes
from shared.bus.ids import derived_id
from shared.bus.keys import Keys
from shared.bus.scripts import script
from shared.bus.writer import Writer
from shared.events.operations import DeadLetter

ORIGINAL = b"x-"
MOST_FIELDS = 3500
"""More than that no script can pass on to XADD; the letter then goes without them."""
PAGE = 200


async def bury(
    writer: Writer, keys: Keys, group: str, entry: Entry, reason: str, deliveries: int = 1
) -> None:
    """Keep an entry that cannot be handled, with its original fields, and acknowledge it."""
    fields, said = letter(keys, group, entry, reason)
    said = said.model_copy(update={"deliveries": deliveries})
    await writer.run(
        script("publish"),
        keys={"stream": keys.stream(DeadLetter), "guard": keys.published(str(fields[3]))},
        events={"event": [*fields, "data", said.model_dump_json()]},
    )
    await writer.send("XACK", entry.stream, group, entry.id)


def letter(
    keys: Keys, group: str, entry: Entry, reason: str
) -> tuple[list[str | bytes], DeadLetter]:
    """Attributes of a dead letter with the entry's fields, and its data, of one delivery."""
    said = DeadLetter(
        origin=entry.stream.removeprefix(keys.prefix),
        entry=entry.id,
        group=group,
        reason=reason,
        deliveries=1,
    )
    event_id = derived_id(DeadLetter.type, f"{entry.stream}:{entry.id}", group)
    fields = attributes(DeadLetter.type, event_id, group, entry.id)
    if len(entry.fields) < MOST_FIELDS:
        for name, value in entry.fields.items():
            fields += [ORIGINAL + name, value]
    return fields, said


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: its own id, what it says, and the entry's original fields."""

    id: str
    letter: DeadLetter
    original: dict[bytes, bytes]


class NoSuchLetterError(Exception):
    """There is no dead letter with this id."""


class DeadLetters:
    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._stream = keys.stream(DeadLetter)

    async def all(self) -> AsyncIterator[Letter]:
        """Oldest first."""
        rows = await self._page("-")
        while rows:
            for entry_id, fields in rows:
                yield _letter(entry_id, fields)
            rows = await self._page(f"({rows[-1][0].decode()}")

    async def _page(self, first: str) -> Any:
        return await self._client.xrange(self._stream, first, "+", count=PAGE)

    async def one(self, letter_id: str) -> Letter:
        """Raises `NoSuchLetterError`."""
        try:
            rows: Any = await self._client.xrange(self._stream, letter_id, letter_id)
        except ResponseError as error:
            if not str(error).startswith("Invalid stream ID"):
                raise
            raise NoSuchLetterError(f"{letter_id} is not the id of a dead letter") from error
        if not rows:
            raise NoSuchLetterError(f"there is no dead letter {letter_id}")
        return _letter(*rows[0])

    async def replay(self, letter_id: str) -> str:
        """Put the entry back on its stream, for all groups, and drop the letter; its new id."""
        letter = await self.one(letter_id)
        stream = self._keys.stream_of(letter.letter.origin)
        fields: Any = letter.original
        async with self._client.pipeline(transaction=True) as pipeline:
            pipeline.xadd(stream, fields)
            pipeline.xdel(self._stream, letter_id)
            replies = await pipeline.execute()
        return str(replies[0].decode())

    async def drop(self, letter_id: str) -> None:
        await self.one(letter_id)
        await self._client.xdel(self._stream, letter_id)


def _letter(entry_id: bytes, fields: dict[bytes, bytes]) -> Letter:
    original = {
        name.removeprefix(ORIGINAL): value
        for name, value in fields.items()
        if name.startswith(ORIGINAL)
    }
    return Letter(entry_id.decode(), DeadLetter.model_validate_json(fields[b"data"]), original)
