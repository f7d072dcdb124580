"""Asking until there is an end that lasts: what only time cures is waited out."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from cli.batch.lines import Line
from cli.exchange import UNANSWERED
from shared.bus.ids import idempotent_request_id, new_traceparent
from shared.bus.replies import ReplyFinal
from shared.bus.requester import Requester, StoreFullError, StoreUnavailableError
from shared.events.base import ReplyMode
from shared.events.inference import FailureReason

STORE_AGAIN_S = 2.0
NOBODY_AGAIN_S = 5.0
NODELESS_S = 60.0
"""Longer than a node takes to be started again: after that, its absence is the answer."""

JITTER = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class End:
    """How a request ended, and the id under which it did."""

    request_id: str
    final: ReplyFinal


class Gate:
    """Closed for all while there is no use in asking."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._open_s = 0.0

    async def passed(self) -> None:
        while True:
            wait_s = self._open_s - monotonic()
            if wait_s <= 0:
                return
            await asyncio.sleep(wait_s * random.uniform(1, 1 + JITTER))  # noqa: S311

    def close(self, seconds: float, why: str) -> None:
        self._open_s = max(self._open_s, monotonic() + seconds)
        self._say(f"waiting: {why}")


class Asker:
    """Asks lines of one run, with the same ids in every run of them.

    The router keeps how a request ended for an hour, a refusal too: asking once more after one
    takes a new id, which follows from the line's and from how often it was asked.
    """

    def __init__(self, requester: Requester, say: Say) -> None:
        self._requester = requester
        self._say = say
        self._gate = Gate(say)

    async def ask(self, line: Line, retry: int) -> End:
        """Wait for a line's end. `retry` counts the ends without an answer that it has had."""
        again, began_s = 0, monotonic()
        while True:
            await self._gate.passed()
            request_id = _id(line, retry, again)
            final = await self._once(request_id, line)
            if final is None:
                continue
            match final.data.get("reason"):
                case FailureReason.SATURATED:
                    await self._hold(final, _id(line, retry, again + 1))
                case FailureReason.NO_ELIGIBLE_NODE if monotonic() - began_s < NODELESS_S:
                    self._say(f"waiting: {final.data['message']}")
                    await asyncio.sleep(_retry_after_s(final))
                case FailureReason.STORE_LOST:
                    pass
                case _:
                    return End(request_id, final)
            again += 1

    async def _once(self, request_id: str, line: Line) -> ReplyFinal | None:
        """Its end; None where it has to be asked again as it is."""
        requester = self._requester
        extensions = {
            **line.extensions,
            "traceparent": new_traceparent(),
            "replyto": requester.name,
            "replymode": ReplyMode.FINAL,
        }
        stream = requester.open(request_id, chunks=False)
        try:
            await requester.publish(request_id, line.body, extensions, stream)
            final = await stream.get()
        except (StoreFullError, StoreUnavailableError) as error:
            self._gate.close(STORE_AGAIN_S, str(error))
            return None
        finally:
            stream.close()
        if not isinstance(final, ReplyFinal):
            raise TypeError(f"{request_id}: a piece of an answer, and none was asked for")
        if final.outcome == UNANSWERED:
            self._gate.close(NOBODY_AGAIN_S, str(final.data["message"]))
            return None
        return final

    async def _hold(self, refusal: ReplyFinal, next_id: str) -> None:
        """Close the gate, unless the refusal is an old one: asked again since by an earlier run."""
        try:
            known = await self._requester.look_up(next_id)
        except StoreUnavailableError:
            known = None
        if known is None:
            self._gate.close(_retry_after_s(refusal), str(refusal.data["message"]))


def _retry_after_s(refusal: ReplyFinal) -> float:
    return float(refusal.data.get("retry_after_s") or STORE_AGAIN_S)


def _id(line: Line, retry: int, again: int) -> str:
    if not retry and not again:
        return line.id
    return idempotent_request_id("./roundhouse run", f"{line.id}:{retry}:{again}")
