"""A proxy in front of the S3 server that breaks what the tests ask it to break.

It forwards the Host header unchanged, so signatures stay valid. One request per connection; its thread has an event
loop of its own.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

Kind = Literal["reset", "503", "500", "403", "409", "slow", "truncate", "drop_response", "torn_upload"]
CODES = {
    "503": ("503 Service Unavailable", "SlowDown"),
    "500": ("500 Internal Server Error", "InternalError"),
    "409": ("409 Conflict", "ConditionalRequestConflict"),
    "403": ("403 Forbidden", "InvalidAccessKeyId"),
}


@dataclass
class Fault:
    """Break the next `times` requests that match, each with `probability`.

    Kinds: "reset" the connection before the request is read; answer "503" SlowDown, "500", "403" as for a withdrawn
    key, or "409" as while another conditional write is in flight; "slow" answers after half a second; "truncate" the
    answer's body; "drop_response": do it, but reset instead of answering; "torn_upload": half of the body reaches the
    server.
    """

    kind: Kind
    method: str = ""
    path: str = ""
    times: int = 1_000_000
    probability: float = 1.0
    n_done: int = 0

    def strikes(self, method: str, path: str, generator: random.Random) -> bool:
        """Whether this request is to be broken; counts it."""
        matches = method.startswith(self.method) and self.path in path and self.n_done < self.times
        if not matches or generator.random() >= self.probability:
            return False
        self.n_done += 1
        return True


@dataclass
class Proxy:
    """The running proxy: put faults into `faults`; `outage` makes it refuse connections for a while."""

    upstream: str
    faults: list[Fault] = field(default_factory=list)
    n_requests: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self._run(self._listen())

    @property
    def endpoint(self) -> str:
        """URL of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    def add(self, kind: Kind, **options: Any) -> Fault:
        """Break requests in this way; see `Fault`."""
        self.faults.append(Fault(kind, **options))
        return self.faults[-1]

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Nobody listens inside the `with` block."""
        self._run(self._shut())
        try:
            yield
        finally:
            self._run(self._listen())

    def outage_for(self, seconds: float) -> threading.Thread:
        """An outage that begins now and ends by itself."""
        begun = threading.Event()

        def wait() -> None:
            with self.outage():
                begun.set()
                time.sleep(seconds)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        begun.wait()
        return thread

    def close(self) -> None:
        """End the proxy."""
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, _ = head.split(" ", 2)
        self.n_requests += 1
        fault = next((each for each in self.faults if each.strikes(method, path, self._random)), None)
        kind = fault.kind if fault else None
        if kind == "reset":
            return reset(writer)
        body = await read_body(head, reader, writer)
        if kind in CODES:
            writer.write(error_response(*CODES[kind], has_body=method != "HEAD"))
        elif kind == "slow":
            await asyncio.sleep(0.5)
            writer.write(await self._forward(head, body))
        elif kind == "truncate":
            answer = await self._forward(head, body)
            start = answer.index(b"\r\n\r\n") + 4
            writer.write(answer[: (start + len(answer)) // 2])
        elif kind in ("drop_response", "torn_upload"):
            await self._forward(head, body[: len(body) // 2] if kind == "torn_upload" else body)
            return reset(writer)
        else:
            writer.write(await self._forward(head, body))
        await writer.drain()

    async def _forward(self, head: str, body: bytes) -> bytes:
        address = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        lines = [line for line in head.split("\r\n") if not line.lower().startswith(("connection:", "expect:"))]
        writer.write("\r\n".join([lines[0], "Connection: close", *lines[1:]]).encode("latin-1") + body)
        if len(body) < content_length(head):
            writer.write_eof()
        try:
            return await reader.read()
        finally:
            writer.close()


def content_length(head: str) -> int:
    """Bytes of the request's body."""
    lengths = [line.split(":")[1] for line in head.lower().split("\r\n") if line.startswith("content-length:")]
    return int(lengths[0]) if lengths else 0


async def read_body(head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The request's body; a client that asks whether to go on is told so."""
    if "100-continue" in head.lower():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    return await reader.readexactly(content_length(head))


def error_response(status: str, code: str, has_body: bool) -> bytes:
    """An answer as S3 gives it; to HEAD it has none but the headers."""
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>injected</Message></Error>'
    headers = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nConnection: close"
    return f"{headers}\r\nContent-Length: {len(body)}\r\n\r\n{body if has_body else ''}".encode()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
