"""People with accounts, who speak to a server of accounts over HTTP."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import psycopg2

from tests.servers import SHARED_SECRET, Myelin

SERVER = "verona.example"
V3 = "/_matrix/client/v3"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON of an answer."""

    status: int
    json: Any

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and error code."""
        return self.status, self.json.get("errcode", "")


@dataclass(frozen=True, slots=True)
class House:
    """A running server and its database. `local_secret` is the one in its data folder."""

    port: int
    dsn: str
    local_secret: str

    def call(self, method: str, path: str, body: object = None, token: str | None = None, **headers: str) -> Answer:
        """One request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
            data = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            return Answer(answer.status, json.loads(answer.read() or b"null"))
        finally:
            connection.close()

    def asks(self, sql: str, *values: object) -> list[Any]:
        """Ask the database."""
        with contextlib.closing(psycopg2.connect(self.dsn)) as connection, connection.cursor() as tx:
            tx.execute(sql, values)
            rows = tx.fetchall() if tx.description else []
            connection.commit()
            return rows

    def person(self, name: str, **more: Any) -> Person:
        """A new account, made with the shared secret."""
        made = self.registers(name, **more)
        assert made.status == 200, made
        return Person(
            self, made.json["user_id"], f"password of {name}", made.json["access_token"], made.json["device_id"]
        )

    def registers(self, name: str, *, secret: str = SHARED_SECRET, admin: bool = False, **more: Any) -> Answer:
        """Try to make an account with a secret."""
        path = "/_synapse/admin/v1/register"
        nonce = self.call("GET", path).json["nonce"]
        password = f"password of {name}"
        parts = "\0".join((nonce, name, password, "admin" if admin else "notadmin"))
        mac = hmac.new(secret.encode(), parts.encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": name, "password": password, "admin": admin, "mac": mac, **more}
        return self.call("POST", path, body)

    def logs_in(self, user: str, password: str, **more: Any) -> Answer:
        """Try to log in."""
        identifier = {"type": "m.id.user", "user": user}
        body = {"type": "m.login.password", "identifier": identifier, "password": password, **more}
        return self.call("POST", f"{V3}/login", body)


@dataclass(slots=True)
class Person:
    """Somebody with an account and a device."""

    house: House
    user_id: str
    password: str
    token: str
    device_id: str

    def call(self, method: str, path: str, body: object = None) -> Answer:
        """One request below /_matrix/client/v3, with the access token."""
        return self.house.call(method, V3 + path, body, self.token)

    @property
    def own(self) -> str:
        """The path of what is the user's own."""
        return f"/user/{quote(self.user_id)}"

    @property
    def is_logged_in(self) -> bool:
        """Whether the access token holds."""
        return self.call("GET", "/account/whoami").status == 200

    def another_device(self, **more: Any) -> Person:
        """The same person at another device."""
        made = self.house.logs_in(self.user_id, self.password, **more)
        assert made.status == 200, made
        return Person(self.house, self.user_id, self.password, made.json["access_token"], made.json["device_id"])

    def confirms(self, method: str, path: str, body: dict[str, Any], password: str | None = None) -> Answer:
        """A request that needs the password once more: ask, then say it."""
        asked = self.call(method, path, body)
        assert asked.status == 401 and asked.json["flows"] == [{"stages": ["m.login.password"]}], asked
        auth = {
            "type": "m.login.password",
            "session": asked.json["session"],
            "identifier": {"type": "m.id.user", "user": self.user_id},
            "password": password or self.password,
        }
        return self.call(method, path, {**body, "auth": auth})


@contextlib.contextmanager
def house(dsn: str, **settings: Any) -> Iterator[House]:
    """A server on this database; stopped in the end, without a mistake of its own."""
    registration = {"shared_secret": SHARED_SECRET, **settings.pop("registration", {})}
    server = Myelin(dsn, server_name=SERVER, registration=registration, **settings)
    try:
        server.start()
        yield House(int(server.url.rpartition(":")[2]), dsn, (server.folder / "admin.secret").read_text().strip())
        assert server.stop() == 0, server.output()
        assert server.errors() == []
    finally:
        server.remove()
