"""Stands between Myelin and PostgreSQL and breaks connections at the worst moment."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg2.extensions import make_dsn

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Passes on what both sides send, until it is told to break the next connection that sends certain bytes."""

    def __init__(self, server_folder: Path) -> None:
        self.has_broken = False
        self._server = str(server_folder / SOCKET)
        self._folder = Path(tempfile.mkdtemp(prefix="myelin-proxy-"))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._folder / SOCKET))
        self._listener.listen()
        self._sign: bytes | None = None
        self._passes_on = False
        self._abandons = False
        self._sockets: list[socket.socket] = []

    def dsn(self, dsn: str) -> str:
        """The same database, through the proxy."""
        return str(make_dsn(dsn, host=str(self._folder)))

    def break_before(self, sign: bytes) -> None:
        """Break the next connection that sends these bytes, and do not pass them on."""
        self._sign, self._passes_on, self._abandons, self.has_broken = sign, False, False, False

    def break_after(self, sign: bytes) -> None:
        """Pass the bytes on, and break the connection instead of passing on the answer."""
        self._sign, self._passes_on, self._abandons, self.has_broken = sign, True, False, False

    def abandon_after(self, sign: bytes) -> None:
        """Pass the bytes on and break the client's side at once; PostgreSQL does not learn that nobody is there."""
        self._sign, self._passes_on, self._abandons, self.has_broken = sign, True, True, False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A socket that is only closed would leave the thread in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            _close(each)
        shutil.rmtree(self._folder)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self._sockets += [client, server]
                try:
                    server.connect(self._server)
                except OSError:
                    _close(client)
                    continue
                swallow = threading.Event()
                threading.Thread(target=self._to_server, args=(client, server, swallow), daemon=True).start()
                threading.Thread(target=self._to_client, args=(client, server, swallow), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while received := client.recv(1 << 20):
                if self._sign is not None and self._sign in received:
                    self._sign = None
                    self.has_broken = True
                    if not self._passes_on:
                        break
                    swallow.set()
                    server.sendall(received)
                    if self._abandons:
                        _close(client)
                        return
                    continue
                server.sendall(received)
        _close(client)
        if not swallow.is_set():
            _close(server)

    def _to_client(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while received := server.recv(1 << 20):
                if swallow.is_set():
                    break
                client.sendall(received)
        _close(client)
        _close(server)


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
