"""What is delivered to one endpoint."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count

import structlog

from services.notifier.signing import body_of, headers_of
from services.notifier.verdict import (
    Answered,
    Delivered,
    GivenUp,
    Later,
    Outcome,
    Past,
    SwitchOff,
    Unanswered,
    verdict,
)
from services.notifier.webhook import Caller, Parcel
from shared.bus.bus import Bus
from shared.bus.connection import patiently
from shared.bus.envelope import decode
from shared.bus.ids import random_id
from shared.bus.notifications import NotificationQueue, SwitchedOff, Taken
from shared.config import EndpointConfig
from shared.config.endpoints import signing_keys
from shared.events.notifications import (
    NotificationDelivered,
    NotificationFailed,
    NotificationQueued,
)
from shared.events.operations import AlertRaised, AlertResolved
from shared.log import told
from shared.telemetry import NOTIFICATIONS

log = structlog.get_logger()

POLL_S = 0.2
LOOK_AGAIN_S = 1.0
LEASE_MARGIN_S = 10.0
"""A lease outlasts the attempt by this, for settling it."""


class Courier:
    """Takes, tries and settles one endpoint's notifications, some at a time."""

    def __init__(
        self,
        bus: Bus,
        caller: Caller,
        name: str,
        environment: Mapping[str, str],
        lot: Callable[[], float],
    ) -> None:
        self._bus = bus
        self._caller = caller
        self._name = name
        self._environment = environment
        self._lot = lot
        self._queue = NotificationQueue(bus.writer, bus.keys, bus.instance, name)
        self._under_way: dict[asyncio.Task[None], bool] = {}
        """Each attempt, and whether it repeats one that failed."""
        self._unusable: str | None = None
        """What was said last of the secret, also by a predecessor; None: not looked up yet."""
        self._said = count(1)

    async def round(self) -> None:
        """Take as much as there is room for, or wait a little."""
        endpoint = self._bus.config.endpoints[self._name]
        if not await self._is_usable(endpoint):
            return await asyncio.sleep(LOOK_AGAIN_S)
        room = endpoint.concurrency - len(self._under_way)
        if room > 0 and await self._take(endpoint, room):
            return None
        if not self._under_way:
            return await asyncio.sleep(POLL_S)
        await asyncio.wait(self._under_way, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
        return None

    async def test(self) -> Outcome:
        """POST a test now, past the queue. An endpoint that answers well is switched on again."""
        endpoint = self._bus.config.endpoints[self._name]
        test_id, now = random_id(), datetime.now(UTC)
        try:
            keys = self._keys(endpoint)
        except ValueError as error:
            return Unanswered("no_secret", str(error), 0)
        time = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = body_of("notification.test", time, {"endpoint": self._name})
        parcel = Parcel(body, headers_of(test_id, body, keys, now), dataclass=None)
        outcome = await self._caller.call(self._name, endpoint, parcel)
        if isinstance(outcome, Answered) and 200 <= outcome.status < 300:
            await self._switch_on("a test was delivered")
        return outcome

    async def finish(self, within_s: float) -> None:
        """Wait for what is under way; what lasts longer is given back."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _take(self, endpoint: EndpointConfig, room: int) -> bool:
        """Whether anything was done. What failed before gets at most half of the attempts."""
        repeats = sum(self._under_way.values())
        taken = await self._queue.take(
            again=max(1, endpoint.concurrency // 2) - repeats,
            room=room,
            lease_s=endpoint.timeout_s + LEASE_MARGIN_S,
        )
        if isinstance(taken, SwitchedOff):
            if taken.digest == _digest(endpoint):
                await asyncio.sleep(LOOK_AGAIN_S)
            else:
                await self._switch_on("its configuration changed")
            return True
        for each in taken:
            task = asyncio.create_task(self._deliver(each, endpoint))
            self._under_way[task] = each.turn > 1
            task.add_done_callback(self._done)
        return bool(taken)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        if not task.cancelled() and (error := task.exception()):
            log.error("delivery_failed", endpoint=self._name, error=told(error))
            self._bus.note_failure(error)

    async def _deliver(self, taken: Taken, endpoint: EndpointConfig) -> None:
        try:
            queued = decode(NotificationQueued, taken.entry).event
        except ValueError as error:
            reason = f"invalid: {type(error).__name__}"
            await patiently(lambda: self._queue.buried(taken, reason), "settle")
            return
        try:
            outcome = await self._try(queued, endpoint)
        except asyncio.CancelledError:
            await self._queue.put_off(taken, 0.0, charge=0)
            raise
        await patiently(lambda: self._settle(taken, queued, endpoint, outcome), "settle")

    async def _try(self, queued: NotificationQueued, endpoint: EndpointConfig) -> Outcome:
        body = body_of(queued.event, queued.time, queued.data)
        keys, now = self._keys(endpoint), datetime.now(UTC)
        headers = headers_of(queued.notification_id, body, keys, now)
        return await self._caller.call(
            self._name, endpoint, Parcel(body, headers, queued.dataclass)
        )

    async def _settle(
        self, taken: Taken, queued: NotificationQueued, endpoint: EndpointConfig, outcome: Outcome
    ) -> None:
        waited_s = time.time() - taken.entry.milliseconds / 1000
        past = Past(taken.charged, taken.turn - 1 - taken.charged, waited_s)
        decided = verdict(outcome, past, endpoint.retry_s, self._lot())
        kind = type(decided).__name__.lower()
        NOTIFICATIONS.labels(self._name, kind).inc()
        log.info("attempt", endpoint=self._name, notification=queued.notification_id, became=kind)
        match decided:
            case Delivered(status):
                await self._queue.delivered(taken, self._delivered(taken, queued, outcome, status))
            case Later(delay_s, charge, rest_s):
                await self._queue.put_off(taken, delay_s, charge=charge, rest_s=rest_s)
            case GivenUp():
                failed = self._failed(taken, queued, decided)
                await self._queue.given_up(taken, failed, f"{decided.reason}: {decided.message}")
            case SwitchOff():
                alert = AlertRaised(
                    alert=self._off, summary=f"{self._name} answered 410: it is gone"
                )
                await self._queue.switch_off(taken, _digest(endpoint), alert)

    def _delivered(
        self, taken: Taken, queued: NotificationQueued, outcome: Outcome, status: int
    ) -> NotificationDelivered:
        return NotificationDelivered(
            notification_id=queued.notification_id,
            endpoint=self._name,
            event=queued.event,
            status=status,
            attempts=taken.turn,
            duration_ms=outcome.duration_ms,
        )

    def _failed(
        self, taken: Taken, queued: NotificationQueued, decided: GivenUp
    ) -> NotificationFailed:
        return NotificationFailed(
            notification_id=queued.notification_id,
            endpoint=self._name,
            event=queued.event,
            reason=decided.reason,
            message=decided.message,
            status=decided.status,
            attempts=taken.turn,
        )

    @property
    def _off(self) -> str:
        return f"endpoint_off:{self._name}"

    @property
    def _state(self) -> str:
        return self._bus.keys.endpoint(self._name)

    async def _switch_on(self, why: str) -> None:
        resolved = AlertResolved(alert=self._off, summary=f"{self._name} is called again: {why}")
        await self._queue.switch_on(resolved, random_id())

    def _keys(self, endpoint: EndpointConfig) -> tuple[bytes, ...]:
        """Raise `ValueError`, which says what is wrong with the secret."""
        try:
            return signing_keys(self._environment.get(endpoint.secret_env, ""))
        except ValueError as error:
            raise ValueError(f"{endpoint.secret_env} {error}") from error

    async def _is_usable(self, endpoint: EndpointConfig) -> bool:
        """Nothing is sent unsigned: without a secret everything waits, and an alert says so."""
        problem = ""
        try:
            self._keys(endpoint)
        except ValueError as error:
            problem = str(error)
        if self._unusable is None:
            said = await self._bus.writer.send("HGET", self._state, "unusable")
            self._unusable = (said or b"").decode()
        if problem != self._unusable:
            await self._say_unusable(problem)
            self._unusable = problem
        return not problem

    async def _say_unusable(self, problem: str) -> None:
        alert = f"endpoint_unusable:{self._name}"
        ordinal = f"{self._bus.instance}:{next(self._said)}"
        if problem:
            log.error("endpoint_unusable", endpoint=self._name, why=problem)
            await self._bus.publish(AlertRaised(alert=alert, summary=problem), ordinal=ordinal)
            await self._bus.writer.send("HSET", self._state, "unusable", problem)
        else:
            summary = f"{self._name} has its secret"
            await self._bus.publish(AlertResolved(alert=alert, summary=summary), ordinal=ordinal)
            await self._bus.writer.send("HDEL", self._state, "unusable")


def _digest(endpoint: EndpointConfig) -> str:
    return hashlib.sha256(endpoint.model_dump_json().encode()).hexdigest()[:16]
