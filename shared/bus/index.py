"""Reading the indexes of requests: what waits, by priority, and what flies."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from shared.bus.keys import Keys
from shared.bus.records import ROW_FIELDS, Row, row
from shared.bus.scripts import script
from shared.bus.writer import Writer
from shared.events.base import Priority

PAGE = 500
"""Records a page: a script that builds a much longer table slows thousands after it."""


@dataclass(slots=True)
class Departures:
    """What the reader of an index takes out of it while it reads: decided, and done for certain."""

    begun: int = 0
    done: int = 0


async def waiting(
    writer: Writer, keys: Keys, priority: Priority, departures: Departures
) -> AsyncIterator[list[Row]]:
    """The records of one class that wait, in pages, by admission.

    What follows a departure moves up. One that is begun may have its effect before this page or
    after it; each that may fall between two pages counts. A record may come twice, but none is
    left out.
    """
    first = 0
    while True:
        done = departures.done
        page = await _page(writer, keys, keys.waiting(priority), first, first + PAGE - 1)
        yield page
        if len(page) < PAGE:
            return
        first = max(0, first + PAGE - (departures.begun - done))


async def oldest(writer: Writer, keys: Keys, priority: Priority) -> str | None:
    """The request of this class that was admitted first of those that wait."""
    first: list[bytes] = await writer.send("ZRANGE", keys.waiting(priority), 0, 0)
    return first[0].decode() if first else None


async def in_flight(writer: Writer, keys: Keys) -> list[Row]:
    """The records whose attempt is at a node, or not yet settled, by lease end.

    At one moment: workers move them all the time. There are no more than slots.
    """
    return await _page(writer, keys, keys.flight, 0, -1)


async def _page(writer: Writer, keys: Keys, index: str, first: int, last: int) -> list[Row]:
    reply = await writer.run(
        script("page"),
        keys={"index": index},
        args={
            "first": first,
            "last": last,
            "record_prefix": keys.request(""),
            "chain_prefix": keys.chain(""),
        },
        rest=ROW_FIELDS,
    )
    return [row(*columns) for columns in reply]
