"""HTTP/1.1 by hand over asyncio: fast enough to load a server, and able to say what no client library would."""

import asyncio
from typing import NamedTuple

import orjson

PATIENCE = 10.0  # seconds until an answer that has not come is a hang


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # names in small letters
    body: bytes


class Line:
    """One connection; `call` may be used by one task at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(self, verb: str, path: str, body: object = None, headers: str = "") -> Answer:
        """A request that is as it should be; `headers` are whole lines."""
        content = b"" if body is None else orjson.dumps(body)
        head = f"{verb} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
        return await self.exchange(head.encode() + content, bare=verb == "HEAD")

    async def exchange(self, request: bytes, *, bare: bool = False) -> Answer:
        """Send bytes and read one answer, without a body if `bare`; opened anew where it was closed."""
        if self._reader is None or self._writer is None or self._reader.at_eof():
            await self.hang_up()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        self._writer.write(request)
        async with asyncio.timeout(PATIENCE):
            answer = await self._answer(self._reader, bare)
        if answer.headers.get("connection") == "close":
            await self.hang_up()
        return answer

    async def _answer(self, reader: asyncio.StreamReader, bare: bool) -> Answer:
        status, headers = 100, {}
        while status < 200:
            first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
            status = int(first.split(" ")[1])
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if bare or status == 204:
            return Answer(status, headers, b"")
        return Answer(status, headers, await reader.readexactly(int(headers["content-length"])))

    async def hang_up(self) -> None:
        """Close, if it is open."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
