"""Waiting for a reply: as long as the client does, as the deadline allows, and no longer."""

import asyncio
from contextlib import suppress
from enum import Enum
from time import monotonic
from types import TracebackType
from typing import Self

from starlette.types import Receive

from services.gateway.calls import Call
from services.gateway.desk import Desk
from services.gateway.errors import ApiError, refusal
from services.gateway.exchange import (
    ReplyDelta,
    ReplyFinal,
    StoreUnavailable,
)
from shared.events.inference import FailureReason


class Sign(Enum):
    QUIET = "nothing was said for a while"


class Asked:
    """A submitted call and its reply; leaving the context before it has ended cancels the work.

    Not so where the caller gave an Idempotency-Key: it can come back for the answer.
    """

    def __init__(self, desk: Desk, call: Call, receive: Receive) -> None:
        self._desk = desk
        self._exchange = desk.exchange
        self._limits = desk.limits
        self._call = call
        self._receive = receive
        self._id = call.submission.id
        self._ended = False

    async def __aenter__(self) -> Self:
        submission = self._call.submission
        self._stream = self._exchange.open(self._id, chunks=submission.chunks)
        self._deadline_s = submission.deadline_ms / 1000 if submission.deadline_ms else None
        self._give_up_in(self._deadline_s or self._limits.unadmitted_s)
        try:
            await self._desk.submit(self._call)
        except BaseException:
            self._stream.close()
            raise
        self._watch = asyncio.create_task(self._close_when_client_leaves())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.cancel()
        self._stream.close()
        if not self._ended and self._call.digest is None:
            with suppress(StoreUnavailable, asyncio.CancelledError):
                await self._exchange.cancel(self._id, "nobody waits for the answer any more")

    async def next(self) -> ReplyDelta | ReplyFinal | Sign | None:
        """The next piece or the final, a sign of quiet; None: the client left.

        Raises `ApiError` where no final will come.
        """
        patience_s = max(0.0, min(self._limits.quiet_s, self._give_up_at - monotonic()))
        try:
            async with asyncio.timeout(patience_s):
                item = await anext(self._stream)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            return await self._patience()
        except asyncio.CancelledError:  # by the server, which is being stopped
            raise ApiError(
                503,
                "The gateway is stopping; send the request again.",
                code="stopping",
                retry_after_s=1.0,
            ) from None
        self._ended = isinstance(item, ReplyFinal)
        return item

    async def _patience(self) -> Sign:
        """Wait on, unless the deadline has passed and the router should have said so."""
        if self._deadline_s is None:
            await self._ask_deadline()
        if monotonic() < self._give_up_at:
            return Sign.QUIET
        raise refusal(
            FailureReason.DEADLINE,
            "No answer came before the deadline, nor did the router say why.",
        )

    async def _ask_deadline(self) -> None:
        """A call that stated no deadline got one when it was admitted."""
        with suppress(StoreUnavailable):
            known = await self._exchange.state(self._id)
            if known is not None and known.deadline_s is not None:
                self._deadline_s = known.deadline_s
                self._give_up_in(known.deadline_s)

    def _give_up_in(self, seconds: float) -> None:
        self._give_up_at = monotonic() + seconds + self._limits.grace_s

    async def _close_when_client_leaves(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._stream.close()
