"""All that is said on the streams, taken down while it is said: before anything is trimmed, and
whatever becomes of the store meanwhile.
"""

import asyncio
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import redis.asyncio
from pydantic_core import from_json

from shared.events.inference import (
    InferenceAttemptFailed,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRejected,
    InferenceRequested,
    InferenceRouted,
    InferenceStarted,
)
from tests.chaos.cell import KEYS
from tests.chaos.engine import NUMBER

INBOX = KEYS.stream(InferenceRequested)
FINALS = tuple(
    KEYS.stream(event)
    for event in (InferenceCompleted, InferenceFailed, InferenceRejected, InferenceCancelled)
)
ATTEMPTS = tuple(
    KEYS.stream(event) for event in (InferenceRouted, InferenceStarted, InferenceAttemptFailed)
)
GROUP = "chaos"
RECKON_S = 0.5
READS_OF_A_LEAP = 3
"""What was said before a leap is heard by then: one read may be under way, and another begin."""

CONTRACTS = (INBOX, *ATTEMPTS, *FINALS)
ALL_AT_ONCE = 1_000_000
"""A read must never stop in the middle of a stream: the order of reads is the order of events."""


@dataclass(slots=True)
class Heard:
    """An entry, without what nobody will ask for."""

    id: str
    at: int
    """Number of the read that brought it. What an earlier read brought came earlier."""
    at_s: float
    since_s: float
    """It was said after this moment: the read before did not bring it."""
    attributes: dict[str, str]
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Gap:
    """After the one read, and before the other ended, replies were lost to the tape."""

    stream: str
    """The reply stream; "" for all."""
    after: int
    until: int


@dataclass(slots=True)
class Tape:
    """`run` it from before the first request on."""

    url: str
    heard: dict[str, list[Heard]] = field(default_factory=lambda: defaultdict(list))
    accepted: dict[str, Heard] = field(default_factory=dict)
    """The first entry of each request, by its id."""
    ended: set[str] = field(default_factory=set)
    ended_at_s: float = field(default_factory=monotonic)
    """When an end was heard last."""
    missed: Counter[str] = field(default_factory=Counter)
    """Entries of each stream that were gone before they could be read."""
    leaps_s: list[float] = field(default_factory=list)
    """When the store's clock leapt so far that replies expired."""
    gaps: list[Gap] = field(default_factory=list)
    reads: int = 0
    stopped: bool = False
    _positions: dict[str, str] = field(default_factory=dict)
    _added: dict[str, int] = field(default_factory=dict)
    _earlier: Counter[str] = field(default_factory=Counter)
    _reckoned: Counter[str] = field(default_factory=Counter)
    """The read after which it was last known whether a stream had lost anything."""
    _reckoned_s: float = 0.0
    _began_s: float = 0.0
    """When the last read that succeeded began."""

    @property
    def open(self) -> int:
        """Requests that were accepted and have not ended, as far as was heard."""
        return len(self.accepted) - len(self.ended & self.accepted.keys())

    async def run(self) -> None:
        """Read until cancelled, from the very beginning.

        `stopped` is for a cancellation that redis-py's timeouts have swallowed.
        """
        self._positions = dict.fromkeys(CONTRACTS, "0")
        client = redis.asyncio.Redis.from_url(self.url, protocol=2, socket_timeout=10)
        while not self.stopped:
            try:
                if monotonic() > self._reckoned_s + RECKON_S:
                    await self._hold(client)
                    await self._reckon(client)
                began_s = monotonic()
                reply = await client.xread(self._places(), count=ALL_AT_ONCE, block=100)
                self._take_in(reply, began_s)
            except (redis.RedisError, OSError):
                await client.connection_pool.disconnect()
                await asyncio.sleep(0.02)

    def leap(self) -> None:
        """The clock is about to leap: replies expire that nobody has read."""
        self.leaps_s.append(monotonic())
        self.gaps.append(Gap("", self.reads, self.reads + READS_OF_A_LEAP))

    async def reckoned(self) -> None:
        """Wait until it is known whether anything was missed up to now."""
        now_s = monotonic()
        while self._reckoned_s < now_s:
            await asyncio.sleep(0.02)

    def write(self, path: Path) -> None:
        """Everything that was heard, in its order, a line each."""
        entries = [(heard, stream) for stream, all_ in self.heard.items() for heard in all_]
        with path.open("w") as file:
            for heard, stream in sorted(entries, key=lambda pair: pair[0].at):
                line = {"stream": stream, **asdict(heard)}
                file.write(json.dumps(line) + "\n")

    async def _hold(self, client: redis.asyncio.Redis) -> None:
        """Keep what was not read yet from being trimmed, as a follower may."""
        for stream in CONTRACTS:
            with suppress(redis.ResponseError):  # it exists
                await client.xgroup_create(stream, GROUP, "0", mkstream=True)
            await client.xgroup_setid(stream, GROUP, self._positions[stream])

    async def _reckon(self, client: redis.asyncio.Redis) -> None:
        """Count what every stream was ever given, at one moment with a read of all of them."""
        began_s, streams = monotonic(), [*self._positions]
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.xread(self._places(), count=ALL_AT_ONCE)
            for stream in streams:
                pipeline.xinfo_stream(stream)
            reply, *infos = await pipeline.execute(raise_on_error=False)
        self._take_in(reply, began_s)
        for stream, info in zip(streams, infos, strict=True):
            if isinstance(info, Exception):  # expired
                continue
            added, missed = int(info["entries-added"]), self.missed[stream]
            begun_anew = added < self._added.get(stream, 0)  # after it expired
            if begun_anew:
                self._earlier[stream] = len(self.heard[stream]) + missed - added
            self._added[stream] = added
            self.missed[stream] = self._earlier[stream] + added - len(self.heard[stream])
            if begun_anew or self.missed[stream] != missed:
                self.gaps.append(Gap(stream, self._reckoned[stream], self.reads))
            self._reckoned[stream] = self.reads
        self._reckoned_s = began_s

    def _places(self) -> dict[Any, Any]:
        return dict(self._positions)

    def _take_in(self, reply: Any, began_s: float) -> None:
        self.reads += 1
        for name, rows in reply or ():
            stream = name.decode()
            for entry_id, fields in rows:
                self._take(stream, entry_id.decode(), fields)
            self._positions[stream] = rows[-1][0].decode()
        self._began_s = began_s

    def _take(self, stream: str, entry_id: str, fields: Mapping[bytes, bytes]) -> None:
        attributes = {
            name.decode(): value.decode(errors="replace")
            for name, value in fields.items()
            if name not in (b"data", b"delta")
        }
        data = _reduced(stream, fields)
        if stream == INBOX:
            data["number"] = _number(attributes.get("traceparent", ""), fields.get(b"data", b""))
        heard = Heard(entry_id, self.reads, monotonic(), self._began_s, attributes, data)
        self.heard[stream].append(heard)
        if stream == INBOX:
            self.accepted.setdefault(attributes.get("id") or entry_id, heard)
            if reply := attributes.get("replyto"):
                self._positions.setdefault(KEYS.reply(reply), "0")
        elif stream in FINALS:
            self.ended.add(attributes["subject"])
            self.ended_at_s = heard.at_s


def _reduced(stream: str, fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    """What is judged of an entry's body."""
    body = fields.get(b"data") or fields.get(b"delta") or b"{}"
    if stream == INBOX:
        return {"digest": hashlib.sha1(body, usedforsecurity=False).hexdigest()}
    data: dict[str, Any] = from_json(body)
    output = data.pop("output", None)
    if output is not None:
        data["content"] = output["choices"][0]["message"]["content"]
    return data


def _number(traceparent: str, body: bytes) -> int | None:
    """Which of the plan's requests this is: a foreign one says so only in its text."""
    if traceparent:
        return int(traceparent.split("-")[1], 16) - 1
    found = NUMBER.search(body[:300].decode(errors="replace"))
    return int(found[1]) if found else None
