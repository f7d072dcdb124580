"""Leading by a lease, one term after another. All that a leader knows lasts one term."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from shared.bus.bus import Bus
from shared.bus.connection import UNAVAILABLE
from shared.bus.group_read import BatchHandler
from shared.bus.lease import Lease
from shared.bus.requests import FencedError
from shared.log import told

log = structlog.get_logger()


class StepDownError(Exception):
    """Memory and records disagree, or the lease is gone: lead anew, from what is stored."""


ENDS_A_TERM = (*UNAVAILABLE, FencedError, StepDownError)


async def lead(
    lease: Lease,
    term: Callable[[str], Awaitable[None]],
    note_failure: Callable[[BaseException], None],
) -> None:
    """Run a term, by its token, whenever this process holds the lease; until cancelled.

    A term that fails costs its token: what was sent under it is fenced, and none serves two terms.
    At a clean stop the lease is left to `Lease.hold`, which gives it back at once.
    """
    while True:
        token = await lease.held()
        try:
            await _whole(term(token))
        except* ENDS_A_TERM as ended:
            log.warning("term_ended", why=[told(error) for error in ended.exceptions])
        except* Exception as failed:
            log.exception("term_failed")
            note_failure(failed.exceptions[0])
        lease.drop()


async def _whole(term: Awaitable[None]) -> None:
    """In a task of its own: a task group that ends by an error swallows a cancellation that comes
    meanwhile.
    """
    task = asyncio.ensure_future(term)
    try:
        await asyncio.wait({task})
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await task


async def holding(lease: Lease, token: str) -> None:
    """Last as long as the lease does; then raise `StepDownError`."""
    while lease.token == token:
        await lease.renewed()
    raise StepDownError("the lease is somebody else's")


async def reread(
    bus: Bus, stream: str, consumer: str, handler: BatchHandler, every_s: float
) -> None:
    """Handle what a predecessor, or a cut delivery, left in the leaders' shared pending list."""
    while True:
        if left := await bus.pending(stream, consumer):
            await handler(left)
        await asyncio.sleep(every_s)
