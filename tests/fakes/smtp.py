"""A mail server that keeps what it gets: enough of SMTP for any client without encryption."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass
class MailServer:
    """`refusing` answers every message with a temporary failure, as a full mailbox does."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)
    refusing: bool = False
    refused: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink ESMTP\r\n")
        while line := (await reader.readline()).strip():
            match line.split(maxsplit=1)[0].upper():
                case b"EHLO" | b"HELO":
                    writer.write(b"250 sink\r\n")
                case b"DATA":
                    writer.write(b"354 go on\r\n")
                    writer.write(self._take(await reader.readuntil(b"\r\n.\r\n")))
                case b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                case _:
                    writer.write(b"250 ok\r\n")
        writer.close()

    def _take(self, data: bytes) -> bytes:
        if self.refusing:
            self.refused += 1
            return b"452 no room\r\n"
        lines = data.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
        self.mails.append(message_from_bytes(lines, policy=policy.default))
        return b"250 taken\r\n"


@asynccontextmanager
async def mail_server(port: int) -> AsyncIterator[MailServer]:
    """One on the loopback, for as long as the block runs."""
    sink = MailServer(port)
    server = await asyncio.start_server(sink.serve, "127.0.0.1", port)
    async with server:
        yield sink
