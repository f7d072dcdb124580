"""Runs attempts: at most once each, streamed, watched by clocks, stopped on request."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import structlog
from pydantic import ValidationError

from services.inference_worker.answers import Answer
from services.inference_worker.backends.port import (
    BackendError,
    Call,
    Delta,
    Finished,
)
from services.inference_worker.clocks import Clocks
from services.inference_worker.engines import Engines, LoadedModel
from services.inference_worker.outbox import Outbox
from shared.bus.attempts import OK, Attempt, AttemptRecords
from shared.bus.connection import patiently
from shared.bus.envelope import Entry, decode
from shared.config import Config
from shared.events.base import Operation
from shared.events.inference import (
    FailureReason,
    InferenceAttemptFailed,
    InferenceCompleted,
    InferenceDispatched,
    InferenceRequested,
    Timings,
)

log = structlog.get_logger()


@dataclass(slots=True)
class Running:
    """An attempt under way."""

    attempt: Attempt
    task: "asyncio.Task[None] | None" = None
    stop: str = ""
    """Why it was told to stop; "" while it may go on."""
    begun: bool = False
    """A task that is cancelled before its first step would never give its attempt back."""


class Executor:
    """All attempts of this worker."""

    def __init__(
        self, records: AttemptRecords, engines: Engines, config: Callable[[], Config]
    ) -> None:
        self._records = records
        self._engines = engines
        self._config = config
        self._running: dict[str, Running] = {}
        self._closing = False
        self._entries: set[str] = set()
        self._outbox = Outbox(records, self.stop)

    @property
    def in_flight(self) -> int:
        return len(self._running)

    def holds(self, entry: Entry) -> bool:
        return entry.id in self._entries

    async def begin(self, entry: Entry) -> None:
        """Take a dispatched attempt and run it beside the others; not any more once it closes."""
        if self._closing:
            return
        dispatched = decode(InferenceDispatched, entry).event
        executor = self._records.new_executor(entry)
        attempt = None
        self._entries.add(entry.id)
        try:
            attempt = await patiently(
                lambda: self._records.start(entry, dispatched, executor, self._lease_ms()), "start"
            )
        finally:
            if attempt is None:
                self._entries.discard(entry.id)
        if attempt is None:
            return
        running = Running(attempt)
        self._running[attempt.executor] = running
        running.task = asyncio.create_task(self._run(running))

    def stop(self, executor: str, reason: str) -> None:
        """Stop an attempt; its engine is told by closing the stream."""
        running = self._running.get(executor)
        if running is not None and not running.stop and running.task is not None:
            running.stop = reason
            if running.begun:
                running.task.cancel()

    def stop_request(self, request_id: str, number: int, reason: str) -> None:
        for executor, running in list(self._running.items()):
            if running.attempt.request_id == request_id and running.attempt.number == number:
                self.stop(executor, reason)

    async def beat(self) -> None:
        """Renew the leases of all attempts in one round trip, and hear who must stop."""
        running = list(self._running.values())
        answers = await asyncio.gather(
            *(self._records.beat(each.attempt, self._lease_ms()) for each in running)
        )
        for each, answer in zip(running, answers, strict=True):
            if answer != OK:
                self.stop(each.attempt.executor, answer)

    async def close(self) -> None:
        """Give everything back at a clean stop, so that another node may take it at once."""
        self._closing = True
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for executor in list(self._running):
            self.stop(executor, FailureReason.WORKER_RESTARTED)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _lease_ms(self) -> int:
        return int(self._config().timing.flight_lease_s * 1000)

    async def _run(self, running: Running) -> None:
        attempt = running.attempt
        running.begun = True
        try:
            if running.stop:
                await self._release(running, _stopped(running.stop), running.stop)
            else:
                await self._execute(attempt)
        except asyncio.CancelledError:
            if not running.stop:
                raise
            await self._release(running, _stopped(running.stop), running.stop)
        except BackendError as error:
            await self._release(running, error.reason, str(error), error.tokens_needed)
        except ValidationError:
            message = "the body is not an inference request: `input` is missing or malformed"
            await self._release(running, FailureReason.BAD_INPUT, message)
        except Exception as error:
            log.exception("attempt_broke", request=attempt.request_id)
            message = f"the worker failed on it: {type(error).__name__}"
            await self._release(running, FailureReason.CRASHED, message)
        finally:
            self._running.pop(attempt.executor, None)
            self._entries.discard(attempt.entry.id)

    async def _execute(self, attempt: Attempt) -> None:
        loaded = self._engines.ready(attempt.model)
        if loaded is None:
            raise BackendError(FailureReason.NOT_RESIDENT, f"{attempt.model} is not loaded here")
        call = _call(attempt, loaded)
        answer = Answer(call.operation, attempt.request_id, attempt.model, int(time.time()))
        began_s = monotonic()
        with self._engines.serving(loaded):
            finished = await self._stream(attempt, loaded, call, answer)
        await self._outbox.close(attempt)
        completed = self._completed(attempt, loaded, answer.body(finished), finished, began_s)
        if not await patiently(lambda: self._records.complete(attempt, completed), "complete"):
            log.info("answer_fenced", request=attempt.request_id, attempt=attempt.number)

    async def _stream(
        self, attempt: Attempt, loaded: LoadedModel, call: Call, answer: Answer
    ) -> Finished:
        clocks = Clocks(self._config().attempts, monotonic())
        pieces = loaded.backend.stream(call)
        try:
            while True:
                try:
                    async with asyncio.timeout(clocks.ends_s() - monotonic()):
                        piece = await anext(pieces)
                except TimeoutError:
                    hung = clocks.verdict(monotonic())
                    raise BackendError(FailureReason.HUNG, hung) from None
                if isinstance(piece, Finished):
                    return piece
                clocks.token(monotonic())
                self._say(attempt, answer, piece)
        finally:
            await pieces.aclose()

    def _say(self, attempt: Attempt, answer: Answer, piece: Delta) -> None:
        piece = answer.add(piece)
        if attempt.wants_chunks:
            self._outbox.put(attempt, piece)

    def _completed(
        self,
        attempt: Attempt,
        loaded: LoadedModel,
        output: dict[str, object],
        finished: Finished,
        began_s: float,
    ) -> InferenceCompleted:
        queue_ms = attempt.stamp_ms("started_ms") - attempt.stamp_ms("admitted_ms")
        load_ms = loaded.account_for_load() or finished.load_ms
        return InferenceCompleted(
            request_id=attempt.request_id,
            attempt=attempt.number,
            model=attempt.model,
            node=attempt.node,
            engine=loaded.backend.engine,
            output=output,
            usage=finished.usage,
            timings=Timings(
                queue_ms=queue_ms,
                load_ms=load_ms,
                prefill_ms=finished.prefill_ms,
                decode_ms=finished.decode_ms,
                total_ms=queue_ms + int((monotonic() - began_s) * 1000),
            ),
            finish_reason=finished.finish_reason,
            cold=load_ms is not None,
            degraded=loaded.local.degraded,
            noise=loaded.local.noise,
            model_digest=loaded.local.digest,
        )

    async def _release(
        self,
        running: Running,
        reason: FailureReason,
        message: str,
        tokens_needed: int | None = None,
    ) -> None:
        running.stop = running.stop or reason  # whoever stops it now must not cut this short
        attempt = running.attempt
        failed = InferenceAttemptFailed(
            request_id=attempt.request_id,
            attempt=attempt.number,
            node=attempt.node,
            model=attempt.model,
            reason=reason,
            message=message[:500],
            charge=reason.charge,
            tokens_needed=tokens_needed,
        )
        log.info("attempt_failed", request=attempt.request_id, reason=reason, model=attempt.model)
        await self._outbox.close(attempt)
        await patiently(lambda: self._records.release(attempt, failed), "release")


def _call(attempt: Attempt, loaded: LoadedModel) -> Call:
    """Translate a request's body. Raises `ValidationError`."""
    request = InferenceRequested.model_validate_json(attempt.body)
    operation = Operation(attempt.record.get("operation") or Operation.CHAT)
    body = request.input
    if isinstance(body, str):
        body = _from_text(operation, body)
    limit = request.max_tokens or int(attempt.record.get("maxtokens") or 0) or None
    return Call(loaded.profile, operation, body, limit)


def _from_text(operation: Operation, text: str) -> dict[str, object]:
    match operation:
        case Operation.CHAT:
            return {"messages": [{"role": "user", "content": text}]}
        case Operation.COMPLETION:
            return {"prompt": text}
        case Operation.EMBEDDING:
            return {"input": text}


def _stopped(reason: str) -> FailureReason:
    """What a stopped attempt is released as; the record decides whether that still counts."""
    known = {each.value for each in FailureReason}
    return FailureReason(reason) if reason in known else FailureReason.CANCELLED
