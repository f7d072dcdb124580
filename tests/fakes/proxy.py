"""A network that loses replies: the request arrives, its answer does not.

Whoever asked cannot know whether it was done. That is what makes publishing twice a question.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class LossyProxy:
    """Stands before a store; every reply has this chance to be swallowed with its connection."""

    def __init__(self, port: int, loss: float, seed: int) -> None:
        self.port = port
        self.url = ""
        self.loss = loss
        self.cut = 0
        """Replies that were lost so far."""
        self.transports: set[asyncio.Transport] = set()
        self._random = random.Random(seed)
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        """Let nothing through, and cut nothing: as a network that has lost its way."""
        self._open.clear()
        for transport in self.transports:
            if not transport.is_closing():
                transport.pause_reading()

    def release(self) -> None:
        """Deliver what was held."""
        self._open.set()
        for transport in self.transports:
            if not transport.is_closing():
                transport.resume_reading()

    async def passable(self) -> None:
        await self._open.wait()

    def strikes(self) -> bool:
        struck = self._random.random() < self.loss
        self.cut += struck
        return struck


@asynccontextmanager
async def lossy_proxy(port: int, loss: float = 0.1, seed: int = 1) -> AsyncIterator[LossyProxy]:
    """A proxy to the store at this port; `url` is what its victims are told."""
    proxy = LossyProxy(port, loss, seed)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Asking(proxy), "127.0.0.1", 0)
    proxy.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    try:
        yield proxy
    finally:
        server.close()
        while proxy.transports:  # one may have been accepted, and not made yet
            for transport in list(proxy.transports):
                transport.abort()
            await asyncio.sleep(0)


class _Side(asyncio.Protocol):
    """One end of a relayed connection; when one end goes, so does the other."""

    def __init__(self, proxy: LossyProxy) -> None:
        self.proxy = proxy
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.proxy.transports.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        assert self.transport is not None
        self.proxy.transports.discard(self.transport)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.abort()


class _Asking(_Side):
    """Towards the client. What it asks before the store is connected waits here."""

    def __init__(self, proxy: LossyProxy) -> None:
        super().__init__(proxy)
        self._early = b""
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = asyncio.create_task(self._connect())

    def data_received(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self._early += data
        else:
            self.other.transport.write(data)

    async def _connect(self) -> None:
        assert self.transport is not None
        await self.proxy.passable()
        try:
            _, answering = await asyncio.get_running_loop().create_connection(
                lambda: _Answering(self), "127.0.0.1", self.proxy.port
            )
        except OSError:
            self.transport.abort()
            return
        assert answering.transport is not None
        self.other = answering
        answering.transport.write(self._early)
        if self.transport.is_closing():
            answering.transport.abort()


class _Answering(_Side):
    """Towards the store."""

    def __init__(self, asking: _Asking) -> None:
        super().__init__(asking.proxy)
        self.other: _Side = asking

    def data_received(self, data: bytes) -> None:
        assert self.other.transport is not None
        if self.proxy.strikes():
            self.other.transport.abort()
        else:
            self.other.transport.write(data)
