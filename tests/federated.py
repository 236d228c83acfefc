"""Homeservers that speak to each other over TLS; their names are 127.0.0.1:PORT.

here, there = pair
alice, bob = here.cast("alice"), there.cast("bob")
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from bench.authority import HOST, Authority
from tests.cast import Actor, Cast, Device
from tests.integration.admin import free_port
from tests.servers import Homeserver, Myelin
from tests.wire import Json, Response


class TestAuthority:
    """Makes the certificates of test servers. `file` is its own, `tls` what a listener needs."""

    __test__ = False

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="myelin-authority-"))
        authority = Authority(self.folder)
        self.file = authority.file
        self.tls = {"certificate": str(authority.certificate), "private_key": str(authority.private_key)}

    def remove(self) -> None:
        """Delete the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Federated(Myelin):
    """A server that is part of the federation of a test, with people on it.

    `known_at`: the port by which others know it, if something stands between them and its `federation_port`.
    """

    def __init__(
        self,
        dsn: str,
        authority: TestAuthority,
        *,
        federation_port: int | None = None,
        known_at: int | None = None,
        **settings: Json,
    ) -> None:
        port, federation_port = free_port(), federation_port or free_port()
        settings.setdefault("server_name", f"{HOST}:{known_at or federation_port}")
        settings.setdefault("public_baseurl", f"http://{HOST}:{port}/")
        settings.setdefault(
            "listeners",
            [
                {"bind": HOST, "port": port, "serves": ["client", "media", "admin"]},
                {"bind": HOST, "port": federation_port, "tls": authority.tls, "serves": ["federation", "media"]},
            ],
        )
        federation = {"ca_file": str(authority.file), "allow_private_addresses": True, "trusted_key_servers": []}
        settings["federation"] = {"enabled": True, **federation, **settings.get("federation", {})}
        super().__init__(dsn, port=port, **settings)
        self._federation_port = federation_port
        self._trust = ssl.create_default_context(cafile=authority.file)

    def ask_federation(self, path: str) -> Response:
        """A GET as another server would send it, but not signed."""
        return self._ask_federation("GET", path, None)

    def put_federation(self, path: str, body: Json) -> Response:
        """A PUT that is not signed, as identity servers send it."""
        return self._ask_federation("PUT", path, json.dumps(body).encode())

    def _ask_federation(self, method: str, path: str, body: bytes | None) -> Response:
        connection = http.client.HTTPSConnection(HOST, self._federation_port, timeout=30, context=self._trust)
        try:
            connection.request(method, path, body, {} if body is None else {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return Response(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def cast(self, name: str, devices: Sequence[str] = ("device",)) -> Actor:
        """Someone on this server whom no other test knows."""
        return Cast(self)(name, devices)


class Runs(Protocol):
    """A server that a test starts: one of ours, or of others."""

    def start(self) -> None:
        """Start it."""
        ...

    def remove(self) -> None:
        """End it, and delete what it had."""
        ...


@contextlib.contextmanager
def faultless(*servers: Runs) -> Iterator[None]:
    """Started in their order and removed afterwards. Ours must have stopped in order by then, with no error logged."""
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.remove)
            server.start()
        yield
        for server in servers:
            if isinstance(server, Myelin):
                assert server.stop() == 0, server.output()
                assert server.errors() == []


MakeFederated = Callable[..., Federated]
"""Makes and starts a server; its arguments are settings."""


EVERYTHING: Final = {"room": {"timeline": {"limit": 1000}}}
"""A filter for those who want to see all messages in the answers of /sync."""


def joins_through(who: Device, room: str, server: Homeserver) -> None:
    """Join a room through a server that is in it."""
    assert who.asks("POST", "join", room, body={}, via=server.server_name)["room_id"].startswith("!")
