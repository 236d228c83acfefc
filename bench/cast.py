"""The people of a benchmark: makes users, rooms and memberships on a server, and keeps them for later scenarios."""

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast as typed

from bench.measure import Cost
from bench.servers import SHARED_SECRET, Server
from bench.wire import Client, JsonObject, encode_request, path_of, spread

SETUP_CONNECTIONS = 8
PASSWORD = "a password for the benchmark"
REGISTER = "/_synapse/admin/v1/register"
TEXT = "It is a truth universally acknowledged"


@dataclass(frozen=True, slots=True)
class User:
    """An account with the access token of its first device."""

    user_id: str
    token: str


class Cast:
    """Users and rooms on one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._users: list[User] = []
        self._taken = 0
        self._kept: dict[str, object] = {}

    async def take(self, count: int) -> list[User]:
        """Users that no other scenario has taken; made where they are lacking."""
        await self._have(self._taken + count)
        self._taken += count
        return self._users[self._taken - count : self._taken]

    async def any(self, count: int) -> list[User]:
        """Users who may be in other rooms already. Nobody may `take` them afterwards."""
        await self._have(count)
        self._taken = max(self._taken, count)
        return self._users[:count]

    async def _have(self, count: int) -> None:
        numbers = range(len(self._users), count)
        self._users += await spread(numbers, self.server.address, SETUP_CONNECTIONS, register)

    async def keep(self, what: str, make: Callable[[], Awaitable[object]]) -> object:
        """What an earlier scenario made under this name, or what is made now."""
        if what not in self._kept:
            self._kept[what] = await make()
        return self._kept[what]

    async def make_room(self, owner: User, **more: object) -> str:
        """A public room; returns its id."""
        client = Client(self.server.address, owner.token)
        try:
            made = await client.json(
                "POST", path_of("createRoom"), {"preset": "public_chat", "room_version": "12", **more}
            )
        finally:
            client.close()
        return str(made["room_id"])

    async def make_rooms(self, owners: list[User]) -> list[str]:
        """A public room for each of the users (who may be the same one many times)."""

        async def make(client: Client, owner: User) -> str:
            body: JsonObject = {"preset": "public_chat", "room_version": "12"}
            return str((await client.json("POST", path_of("createRoom"), body, owner.token))["room_id"])

        return await spread(owners, self.server.address, SETUP_CONNECTIONS, make)

    async def join(self, room_id: str, users: list[User]) -> Cost:
        """Have the users join a room; returns what the joins cost."""
        path = path_of("rooms", room_id, "join")

        async def join(client: Client, user: User) -> None:
            await client.call("POST", path, {}, user.token)

        meter = self.server.meter()
        if users:
            await spread(users, self.server.address, SETUP_CONNECTIONS, join)
        return meter.read()


@dataclass(slots=True)
class Writer:
    """A user who says one thing after another in a room, as fast as the server takes it."""

    user: User
    room_id: str
    sent: int = 0

    def request(self, txn_id: str, content: bytes) -> bytes:
        """The bytes of one PUT of a message."""
        path = path_of("rooms", self.room_id, "send", "m.room.message", txn_id)
        return encode_request("PUT", path, self.user.token, content)

    async def write(self, server: Server, until: float, limit: int | None = None) -> None:
        """Send until that time (of time.perf_counter), or until so many are sent in all."""
        client = Client(server.address)
        run = time.perf_counter_ns()
        try:
            while time.perf_counter() < until and (limit is None or self.sent < limit):
                content = b'{"msgtype":"m.text","body":"%s, %d"}' % (TEXT.encode(), self.sent)
                answer = await client.raw(self.request(f"{run}.{self.sent}", content))
                if answer.status != 200:
                    raise RuntimeError(f"a message was refused: {answer}")
                self.sent += 1
        finally:
            client.close()


async def register(client: Client, number: int) -> User:
    """Make an account by the shared secret."""
    nonce = str((await client.json("GET", REGISTER))["nonce"])
    name = f"user{number}"
    signed = "\0".join([nonce, name, PASSWORD, "notadmin"]).encode()
    made = await client.json(
        "POST",
        REGISTER,
        {
            "nonce": nonce,
            "username": name,
            "password": PASSWORD,
            "admin": False,
            "mac": hmac.new(SHARED_SECRET.encode(), signed, hashlib.sha1).hexdigest(),
        },
    )
    return User(str(made["user_id"]), str(made["access_token"]))


async def log_in(client: Client, user: User) -> str:
    """Log a user in on a new device; returns its access token."""
    made = await client.json(
        "POST",
        path_of("login"),
        {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user.user_id},
            "password": PASSWORD,
        },
    )
    return typed(str, made["access_token"])
