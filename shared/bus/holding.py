"""What a consumer was given of a stream and has not settled yet: kept, taken over, given up."""

import random
from collections.abc import Iterable
from time import monotonic
from typing import Any

from redis.asyncio import Redis

from shared.bus.connection import ensure_group, patiently
from shared.bus.dead_letters import letter
from shared.bus.envelope import Entry
from shared.bus.keys import Keys
from shared.bus.scripts import script
from shared.bus.writer import Writer
from shared.events.operations import DeadLetter
from shared.log import get_logger
from shared.telemetry import DEAD_LETTERS

log = get_logger()

ATTEMPTS = 5
RECLAIM = 100
BACKOFF_S, BACKOFF_CAP_S = 0.5, 10.0


class Holding:
    """One consumer's entries of one stream. Its owner says which it handles and what came of it."""

    def __init__(self, writer: Writer, keys: Keys, stream: str, group: str, consumer: str) -> None:
        self.stream = stream
        self.group = group
        self.consumer = consumer
        self._writer = writer
        self._keys = keys
        self._held: dict[str, Entry] = {}
        self._ahead_since_s: dict[bytes, float] = {}

    def hold(self, entries: Iterable[Entry]) -> list[Entry]:
        """Begin to handle these; those among them that were not held already."""
        fresh = [entry for entry in entries if entry.id not in self._held]
        self._held |= {entry.id: entry for entry in fresh}
        return fresh

    def let_go(self, entry: Entry) -> None:
        self._held.pop(entry.id, None)

    async def beat(self, client: Redis) -> None:
        """Keep what is still being handled from being reclaimed by somebody else."""
        if self._held:
            await client.xclaim(
                *(self.stream, self.group, self.consumer),
                min_idle_time=0,
                message_ids=list(self._held),
                justid=True,
            )

    async def take_over(self, client: Redis, idle_ms: int) -> list[Entry]:
        """What a dead consumer, or a cut read, left pending; what killed too many is buried."""
        await ensure_group(client, self.stream, self.group)
        reply = await self._writer.run(
            script("take_over"),
            keys={"source": self.stream},
            args={
                "group": self.group,
                "consumer": self.consumer,
                "idle_ms": idle_ms,
                "most": RECLAIM,
            },
            rest=await self._from_the_future(client, idle_ms),
        )
        taken_over = []
        taken = {entry_id: (deliveries, words) for entry_id, deliveries, words in reply[1]}
        for entry_id, (deliveries, words) in taken.items():
            if entry_id.decode() in self._held:
                continue
            fields = dict(zip(words[::2], words[1::2], strict=True))
            entry = Entry(self.stream, entry_id.decode(), fields)
            if deliveries > ATTEMPTS:
                await self.fail(entry, "its consumers died while they handled it", limit=0)
            else:
                taken_over.append(entry)
        return taken_over

    async def fail(self, entry: Entry, reason: str, limit: int = ATTEMPTS) -> float | None:
        """Count a failure: the pause before the next try; None where it is over with this entry.

        After `limit` failures (0: at once) the entry becomes a dead letter.
        """
        fields, said = letter(self._keys, self.group, entry, reason[:500])
        reply = await patiently(
            lambda: self._writer.run(
                script("fail"),
                keys={"source": self.stream, "dead_letter": self._keys.stream(DeadLetter)},
                args={
                    "group": self.group,
                    "consumer": self.consumer,
                    "entry": entry.id,
                    "limit": limit,
                    "letter": said.model_dump_json(),
                },
                events={"event": fields},
            ),
            "fail",
        )
        if reply[0] == b"dead":
            DEAD_LETTERS.labels(self.stream).inc()
            log.error("dead_letter", stream=self.stream, entry=entry.id)
        if reply[0] != b"retry":
            return None
        pause_s = min(BACKOFF_CAP_S, float(BACKOFF_S * 2 ** (int(reply[1]) - 1)))
        return pause_s * random.uniform(0.8, 1.2)  # noqa: S311

    async def _from_the_future(self, client: Redis, idle_ms: int) -> list[bytes]:
        """What was delivered at a time that the store's clock, set back since, has yet to reach.

        It never seems idle, unless a living consumer beats for it.
        """
        pending: Any = await client.xpending_range(
            self.stream, self.group, min="-", max="+", count=RECLAIM
        )
        now_s = monotonic()
        self._ahead_since_s = {
            each["message_id"]: self._ahead_since_s.get(each["message_id"], now_s)
            for each in pending
            if each["time_since_delivered"] == 0 and each["message_id"].decode() not in self._held
        }
        return [
            entry_id
            for entry_id, since_s in self._ahead_since_s.items()
            if (now_s - since_s) * 1000 > idle_ms
        ]
