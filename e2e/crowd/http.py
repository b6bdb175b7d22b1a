"""As much of HTTP/1.1 as ten thousand connections in one process leave room for."""

import asyncio
import json


class Gone(Exception):
    """The connection ended without a whole answer."""


class Connection:
    """One connection, opened when it is first needed and again after it broke."""

    def __init__(self, port, key):
        self.port, self.key = port, key
        self.reader = self.writer = None

    async def ask(self, method, path, body=None, within_s=60.0):
        """One request: (status, what the body says)."""
        try:
            async with asyncio.timeout(within_s):
                if self.writer is None:
                    self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
                return await self.exchange(method, path, body)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
            self.close()
            raise Gone(f"{method} {path}: {error!r}") from error

    async def exchange(self, method, path, body):
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        self.writer.write(head.encode() + data)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        length = next(int(line[15:]) for line in lines if line.lower().startswith("content-length:"))
        text = await self.reader.readexactly(length)
        if any(line.lower() == "connection: close" for line in lines):
            self.close()
        return int(lines[0].split()[1]), json.loads(text) if text else None

    def close(self):
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None
