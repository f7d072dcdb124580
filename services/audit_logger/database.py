"""The trail's Postgres: written batch by batch, asked page by page."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from shared.bus.batches import AwayError

log = structlog.get_logger()

HERE = Path(__file__).parent
CONNECT_S = 2
CONNECTIONS = 3
ANSWER_S = 5.0
MIGRATION_S = 1800.0
"""New keys for a million rows take three seconds. Until then entries wait in the streams."""
SILENT_S = 4.0
PRUNED_AT_ONCE = 10_000
MIGRATING = 7_283_466
"""Number of the advisory lock under which one process at a time migrates."""

OF_THE_DATA = (psycopg.DataError, psycopg.IntegrityError)
"""What is wrong with rows; any other error is the database's, and cured there."""


class Database:
    """Raises `AwayError` where the database cannot do its part, and then has done nothing."""

    def __init__(self, url: str) -> None:
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it tells of each reconnection
        self._pool = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=CONNECT_S,
            reconnect_timeout=CONNECT_S,
            open=False,
            connection_class=AsyncConnection[DictRow],
            kwargs={
                "row_factory": dict_row,
                "application_name": "roundhouse audit-logger",
                "connect_timeout": CONNECT_S,
            },
        )
        self._migrated = False
        self._heard_s = 0.0
        self._away: tuple[float, str] | None = None
        self._unwritten = ""
        """Why the last batch could not be written, though perhaps all else can be."""

    @property
    def away(self) -> str:
        """Why it cannot be reached now; "" where it can."""
        if self._away is not None:
            return f"away for {monotonic() - self._away[0]:.0f} s: {self._away[1]}"
        if not self._migrated:
            return "not connected yet"
        silent_s = monotonic() - self._heard_s
        return f"silent for {silent_s:.0f} s" if silent_s > SILENT_S else ""

    @property
    def lack(self) -> str:
        """Why nothing can be written now; "" where it can."""
        return self.away or self._unwritten

    def must_be_there(self) -> None:
        """Raise `AwayError` where it is known to be away, which trying would find out late."""
        if self.away:
            raise AwayError(self.away)

    async def look(self) -> None:
        """Connect and migrate where that was not possible before."""
        async with self._connection() as connection:
            await connection.execute("SELECT 1")

    async def record(self, told: Sequence[bytes]) -> None:
        """Write what events tell (each a JSON object, see record.sql), all or nothing, once each.

        Raises psycopg's `DataError` or `IntegrityError` where one of them cannot be written.
        """
        document = (b"[" + b",".join(told) + b"]").decode()
        try:
            async with self._connection() as connection:
                await connection.execute(sql("record"), {"told": document})
        except AwayError as error:
            self._unwritten = f"writes fail: {error}"
            raise
        self._unwritten = ""

    async def search(self, terms: Mapping[str, Any]) -> list[DictRow]:
        return await self._rows("search", terms)

    async def request(self, terms: Mapping[str, Any]) -> list[DictRow]:
        """What an id names: a row for each use of it, newest first."""
        return await self._rows("request", terms)

    async def attempts(self, requests: Sequence[DictRow]) -> list[DictRow]:
        """Those of uses of one id."""
        entries = [row["inbox_entry"] for row in requests]
        terms = {"request_id": requests[0]["request_id"], "inbox_entries": entries}
        return await self._rows("attempts", terms)

    async def prune(self) -> None:
        """Forget the ids of events that no stream can deliver any more, some at a time."""
        forgotten = PRUNED_AT_ONCE
        while forgotten == PRUNED_AT_ONCE:
            async with self._connection(decides=False) as connection:
                done = await connection.execute(sql("prune"), {"limit": PRUNED_AT_ONCE})
                forgotten = done.rowcount

    async def close(self) -> None:
        await self._pool.close(timeout=1)

    async def _rows(self, statement: str, terms: Mapping[str, Any]) -> list[DictRow]:
        async with self._connection(decides=False) as connection:
            return await (await connection.execute(sql(statement), terms)).fetchall()

    @asynccontextmanager
    async def _connection(self, *, decides: bool = True) -> AsyncIterator[AsyncConnection[DictRow]]:
        """A connection in a transaction, to a database that has all tables.

        A question that takes too long `decides` nothing: writing may go on meanwhile.
        """
        try:
            await self._pool.open()
            limit = asyncio.timeout(ANSWER_S)
            async with limit, self._pool.connection() as connection:
                if not self._migrated:
                    await migrate(connection, limit)
                yield connection
            self._migrated = True
        except OF_THE_DATA:
            raise
        except (psycopg.Error, TimeoutError, OSError) as error:
            if isinstance(error, psycopg.errors.UndefinedTable):
                self._migrated = False  # another database has taken its place
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            if decides and self._away is None:
                self._away = (monotonic(), why)
                log.warning("database_away", error=why)
            raise AwayError(why) from error
        self._heard_s = monotonic()
        if self._away is not None:
            log.info("database_back", after_s=round(monotonic() - self._away[0], 1))
            self._away = None


async def migrate(connection: AsyncConnection[DictRow], limit: asyncio.Timeout) -> None:
    """Apply what was not applied yet, in the connection's transaction; one process at a time.

    What is to be applied gets the time that it takes.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATING])
    await connection.execute(sql("migrations"))
    rows = await (await connection.execute("SELECT version FROM migrations")).fetchall()
    applied = {row["version"] for row in rows}
    now_s = asyncio.get_running_loop().time
    for file in sorted((HERE / "migrations").glob("*.sql")):
        version, _, name = file.stem.partition("_")
        if int(version) in applied:
            continue
        limit.reschedule(now_s() + MIGRATION_S)
        await connection.execute(file.read_bytes())
        await connection.execute(
            "INSERT INTO migrations (version, name) VALUES (%s, %s)", [int(version), name]
        )
        log.info("migrated", version=int(version), name=name)
    limit.reschedule(now_s() + ANSWER_S)


@cache
def sql(name: str) -> bytes:
    """A statement of ours; values only ever travel beside it."""
    return (HERE / "sql" / f"{name}.sql").read_bytes()
