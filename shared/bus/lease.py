"""Who leads: a lease in the store with a fence token for all that only the leader may do."""

import asyncio
from collections.abc import Callable
from time import monotonic

from shared.bus.connection import UNAVAILABLE
from shared.bus.keys import Keys
from shared.bus.scripts import script
from shared.bus.writer import Writer
from shared.config import Timing
from shared.log import get_logger

log = get_logger()


class Lease:
    """Kept by `hold`. `token` is "" whenever this process does not, or may no longer, lead."""

    def __init__(
        self, writer: Writer, keys: Keys, name: str, owner: str, timing: Callable[[], Timing]
    ) -> None:
        self._writer = writer
        self._keys = {"lease": keys.lease(name), "fence": keys.fence(name)}
        self._name = name
        self._owner = owner
        self._timing = timing
        self._token = ""
        self._until = 0.0
        self._renewals = asyncio.Event()

    @property
    def token(self) -> str:
        return self._token if monotonic() < self._until else ""

    @property
    def fence_key(self) -> str:
        return self._keys["fence"]

    async def held(self) -> str:
        """Wait until this process leads; its token."""
        while not self.token:
            await self.renewed()
        return self.token

    async def renewed(self) -> None:
        """Wait for the next renewal, successful or not."""
        await self._renewals.wait()

    async def hold(self) -> None:
        """Take, renew and take again, until cancelled."""
        try:
            while True:
                before = self._token
                await self._renew()
                if self._token != before:
                    log.info("lease", name=self._name, leading=bool(self._token))
                self._renewals.set()
                self._renewals = asyncio.Event()
                await asyncio.sleep(self._timing().router_renew_s)
        finally:
            await self._release()

    def drop(self) -> None:
        """Stop leading at once; whoever takes the lease next, also this one, is a new leader."""
        self._token = ""
        self._until = 0.0

    async def _renew(self) -> None:
        asked = monotonic()
        try:
            reply = await self._writer.run(
                script("lease"),
                keys=self._keys,
                args={
                    "owner": self._owner,
                    "known": self._token,
                    "ttl_ms": int(self._timing().router_lease_s * 1000),
                },
            )
        except UNAVAILABLE:
            if monotonic() >= self._until:
                self._token = ""
            return
        self._token = reply[0].decode()
        self._until = asked + self._timing().router_lease_s if self._token else 0.0

    async def _release(self) -> None:
        if not self.token:
            return
        self._token = ""
        try:
            await self._writer.run(
                script("release"), keys={"lease": self._keys["lease"]}, args={"owner": self._owner}
            )
        except UNAVAILABLE:
            log.info("lease_not_released", name=self._name)
