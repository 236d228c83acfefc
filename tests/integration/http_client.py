"""A site in a process of its own, and a client that says exactly the bytes it is told to."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def errcode(self) -> str:
        """The Matrix error code."""
        return str(self.json["errcode"])


class Connection:
    """One connection, read by hand."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.socket = plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, head_only: bool = False) -> Answer:
        """Read one answer."""
        head, _, self._buffer = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        if head_only or status in (101, 204, 304) or status < 200:
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunks())
        if "content-length" not in headers:
            return Answer(status, headers, self.rest())
        return Answer(status, headers, self.take(int(headers["content-length"])))

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        while more := self._more():
            self._buffer += more
        found, self._buffer = self._buffer, b""
        return found

    def is_closed(self) -> bool:
        """Wait for the end of the connection; False if more bytes come instead."""
        return not self._buffer and self._more() == b""

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _more(self) -> bytes:
        try:
            return self.socket.recv(1 << 16)
        except ConnectionResetError:
            return b""

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            more = self._more()
            if not more:
                raise EOFError(f"the connection ended after {self._buffer!r}")
            self._buffer += more
        return self._buffer

    def take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            more = self._more()
            if not more:
                raise EOFError(f"the connection ended {count - len(self._buffer)} bytes early")
            self._buffer += more
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    def _chunks(self) -> bytes:
        body = b""
        while True:
            line, _, self._buffer = self._until(b"\r\n").partition(b"\r\n")
            size = int(line, 16)
            body += self.take(size)
            assert self.take(2) == b"\r\n"
            if not size:
                return body


class RunningSite:
    """The site, as tests speak to it."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path, tls: ssl.SSLContext | None) -> None:
        self.process = process
        self.port = port
        self._log = log
        self._tls = tls

    def connect(self) -> Connection:
        """A new connection."""
        return Connection(self.port, self._tls)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        token: str | None = "alice",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        with self.connect() as connection:
            connection.send(request(method, target, body, token, headers))
            return connection.answer(head_only=method == "HEAD")

    def counts(self) -> dict[str, Any]:
        """What the site has counted."""
        found: dict[str, Any] = self.ask("GET", "/_matrix/client/v3/counts").json
        return found

    def wait_for(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The counts, once they are as told."""
        until = time.monotonic() + PATIENCE_S
        while not what(counts := self.counts()):
            assert time.monotonic() < until, f"it stays at {counts}"
            time.sleep(0.01)
        return counts

    def log(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]


def request(
    method: str,
    target: str,
    body: bytes | None = None,
    token: str | None = "alice",
    headers: dict[str, str] | None = None,
) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


@contextmanager
def running_site(folder: Path, tls: ssl.SSLContext | None = None, **settings: object) -> Iterator[RunningSite]:
    """Run the site; it is stopped at the end, and must stop cleanly."""
    log = folder / "site.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.http_site", json.dumps(settings)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        yield RunningSite(process, json.loads(line)["port"], log, tls)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
