"""A tiny site of endpoints that exercise the HTTP machinery; run as a process of its own by test_http_doors.

Prints one line of JSON with its port when it listens. Tokens: `alice`, `guest`, `admin`, `bridge` (an appservice), and
`slow-alice`, which the resolver does not have at hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import CancelledError, Deferred

from config.settings import Listener, Tls
from homeserver.core import rate
from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import DeviceId, RoomId, ServerName, UserId
from homeserver.runtime.clock import Clock, ReactorClock
from homeserver.runtime.logs import LogFile, start_logging
from homeserver.runtime.metrics import Metrics
from homeserver.web.access import AccessControl, Requester, hash_token
from homeserver.web.decode import ObjectField
from homeserver.web.endpoint import (
    ADMIN,
    APPSERVICE,
    NONE,
    OPTIONAL,
    SERVER,
    USER,
    USER_OR_GUEST,
    endpoint,
    endpoints,
    websocket,
)
from homeserver.web.errors import Forbidden, Unauthorized, UnknownToken
from homeserver.web.limits import Limiter
from homeserver.web.operations import ENDPOINTS as OPERATIONS
from homeserver.web.operations import Operations
from homeserver.web.plan import bind
from homeserver.web.request import ConnectionAborted, RequestInfo, Upload
from homeserver.web.response import Response, StreamedResponse
from homeserver.web.server import HttpServer
from homeserver.web.websocket import Heartbeat, Socket


class DatabaseAway(Exception):
    """Stands for a database that cannot be reached."""


class Desk:
    """The service behind the endpoints here."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.waiting: list[Deferred[None]] = []
        self.cancelled = 0
        self.finished_writes = 0
        self.upload_errors: list[str] = []
        self.closed_streams = 0
        self.sockets_closed = 0
        self.database_is_there = True
        self.stopping: Deferred[None] = Deferred()

    async def check(self) -> None:
        if not self.database_is_there:
            raise DatabaseAway("connection refused")


class Tokens:
    """Four accounts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known = {
            hash_token(name): Requester(
                UserId(f"@{name}:test"),
                DeviceId("DEVICE"),
                7,
                hash_token(name),
                is_guest=name == "guest",
                is_admin=name == "admin",
                appservice_id="bridge" if name == "bridge" else None,
            )
            for name in ("alice", "guest", "admin", "bridge")
        }

    def cached(self, token_hash: bytes) -> Requester | None:
        return self._known.get(token_hash)

    async def resolve(self, token_hash: bytes) -> Requester:
        await self._clock.sleep(0)
        if token_hash == hash_token("slow-alice"):
            return self._known[hash_token("alice")]
        raise UnknownToken(soft_logout=token_hash == hash_token("expired"))

    async def masquerade(self, requester: Requester, user_id: str, device_id: str | None) -> Requester:
        if not user_id.startswith("@bridge_"):
            raise Forbidden("This user is outside the namespaces of the application service.", "M_EXCLUSIVE")
        return Requester(UserId(user_id), None, 0, requester.token_hash, appservice_id="bridge")


class SentEvent(msgspec.Struct, frozen=True):
    event_id: str


class Filter(msgspec.Struct, frozen=True):
    limit: int = 10
    full_state: bool = False
    via: list[str] = []
    since: str | None = None


class Login(msgspec.Struct, frozen=True, rename={"kind": "type"}):
    kind: str
    attempts: Annotated[int, msgspec.Meta(ge=0)] = 0
    extra: ObjectField | None = None


class Leave(msgspec.Struct, frozen=True):
    reason: str | None = None


@endpoint(
    "PUT", "/_matrix/client/v3/rooms/{room_id}/send/{type}/{txn_id}", access=USER, limit=rate.MESSAGE, once_per="txn_id"
)
async def send(desk: Desk, who: Requester, room_id: RoomId, type: str, txn_id: str, content: JsonObject) -> SentEvent:
    return SentEvent(event_id=f"${txn_id}:{type}:{who.device_number}:{len(content)}")


@endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/state/{type}", access=USER)
@endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/state/{type}/{state_key}", access=USER)
async def state(desk: Desk, who: Requester, room_id: RoomId, type: str, state_key: str = "") -> dict[str, str]:
    return {"room_id": room_id, "type": type, "state_key": state_key}


@endpoint("GET", "/_matrix/client/v3/query", access=USER_OR_GUEST, also=["/_matrix/client/unstable/test/query"])
async def query(desk: Desk, who: Requester, query: Filter) -> dict[str, object]:
    return {"user_id": who.user_id, "limit": query.limit, "full_state": query.full_state, "via": query.via}


@endpoint("POST", "/_matrix/client/v3/login", access=NONE)
async def login(desk: Desk, body: Login, request: RequestInfo) -> dict[str, object]:
    return {"type": body.kind, "attempts": body.attempts, "ip": request.ip, "agent": request.user_agent}


@endpoint("POST", "/_matrix/client/v3/leave", access=USER)
async def leave(desk: Desk, who: Requester, body: Leave) -> None:
    return None


@endpoint("GET", "/_matrix/client/v3/whoami", access=USER_OR_GUEST)
async def whoami(desk: Desk, who: Requester) -> dict[str, object]:
    return {"user_id": who.user_id, "appservice": who.appservice_id}


@endpoint("GET", "/_matrix/client/v3/maybe", access=OPTIONAL)
async def maybe(desk: Desk, who: Requester | None) -> dict[str, object]:
    return {"user_id": None if who is None else who.user_id}


@endpoint("GET", "/_matrix/client/v3/admins", access=ADMIN)
async def admins(desk: Desk, who: Requester) -> None:
    return None


@endpoint("GET", "/_matrix/client/v3/bridges", access=APPSERVICE)
async def bridges(desk: Desk, who: Requester) -> None:
    return None


@endpoint("GET", "/_matrix/federation/v1/hello", access=SERVER)
async def hello(desk: Desk, who: ServerName) -> dict[str, str]:
    return {"origin": who}


@endpoint("GET", "/_matrix/client/v3/sync", access=USER)
async def sync(desk: Desk, who: Requester) -> dict[str, str]:
    waiting: Deferred[None] = Deferred()
    desk.waiting.append(waiting)
    try:
        await waiting
    except CancelledError:
        desk.cancelled += 1
        raise
    finally:
        desk.waiting.remove(waiting)
    return {"next_batch": "s1"}


@endpoint("POST", "/_matrix/client/v3/slow_write", access=USER)
async def slow_write(desk: Desk, who: Requester) -> None:
    waiting: Deferred[None] = Deferred()
    desk.waiting.append(waiting)
    await waiting
    desk.waiting.remove(waiting)
    desk.finished_writes += 1


@endpoint("POST", "/_matrix/client/v3/last_write", access=USER)
async def last_write(desk: Desk, who: Requester) -> dict[str, bool]:
    desk.waiting.append(desk.stopping)
    await desk.stopping
    return {"written": True}


@endpoint("POST", "/_matrix/client/v3/wake", access=NONE)
async def wake(desk: Desk) -> None:
    for waiting in list(desk.waiting):
        waiting.callback(None)


@endpoint("GET", "/_matrix/client/v3/counts", access=NONE)
async def counts(desk: Desk) -> dict[str, object]:
    return {
        "waiting": len(desk.waiting),
        "cancelled": desk.cancelled,
        "finished_writes": desk.finished_writes,
        "upload_errors": desk.upload_errors,
        "closed_streams": desk.closed_streams,
        "sockets_closed": desk.sockets_closed,
        "rss": resident_bytes(),
    }


@endpoint("GET", "/_matrix/client/v3/big", access=NONE)
async def big(desk: Desk, query: Filter) -> bytes:
    return b'{"text":"' + b"x" * query.limit + b'"}'


@endpoint("GET", "/_matrix/client/v3/broken", access=NONE)
async def broken(desk: Desk) -> None:
    secret = "password=hunter2"
    raise RuntimeError(f"this handler is broken, {secret}")


@endpoint("GET", "/_matrix/client/v3/bad_header", access=NONE)
async def bad_header(desk: Desk) -> Response:
    return Response(200, {"X-Name": "one\r\nX-Other: two"})


@endpoint("GET", "/_matrix/client/v3/database", access=NONE)
async def database(desk: Desk) -> None:
    await desk.check()


@endpoint("POST", "/_matrix/client/v3/database/{there}", access=NONE)
async def set_database(desk: Desk, there: int) -> None:
    desk.database_is_there = bool(there)


@endpoint("POST", "/_matrix/media/v3/upload", access=USER, body_limit_bytes=8 * 1024 * 1024)
async def upload(desk: Desk, who: Requester, upload: Upload) -> dict[str, object]:
    size = pieces = 0
    try:
        async for piece in upload:
            size += len(piece)
            pieces += 1
    except ConnectionAborted as error:
        desk.upload_errors.append(str(error))
        raise
    return {"size": size, "type": upload.content_type, "streamed": pieces > 1}


@endpoint("GET", "/_matrix/media/v3/download/{count}", access=NONE)
async def download(desk: Desk, count: int) -> StreamedResponse:
    return StreamedResponse(_chunks(desk, count), headers={"Content-Type": "application/octet-stream"})


@endpoint("GET", "/_matrix/media/v3/known_length/{count}", access=NONE)
async def known_length(desk: Desk, count: int) -> StreamedResponse:
    return StreamedResponse(_chunks(desk, count), length=count * 65536)


async def _chunks(desk: Desk, count: int) -> AsyncIterator[bytes]:
    try:
        for _ in range(count):
            yield b"c" * 65536
            await desk.clock.sleep(0)
    finally:
        desk.closed_streams += 1


@websocket("/_matrix/client/v3/socket", protocols=["m.test", "m.other"], access=USER)
async def socket(desk: Desk, who: Requester, socket: Socket) -> None:
    socket.send(json.dumps({"hello": who.user_id, "protocol": socket.protocol}).encode())
    try:
        async for message in socket:
            if message == b"close":
                socket.close(4000, "as you wish")
            elif message == b"return":
                return
            elif message == b"break":
                raise RuntimeError("broken socket handler")
            elif message == b"refuse":
                raise Forbidden("no more of this")
            elif message.startswith(b"flood "):
                await _flood(socket, int(message[6:]))
            else:
                socket.send(b"echo " + message)
    finally:
        desk.sockets_closed += 1


async def _flood(socket: Socket, count: int) -> None:
    """Send until the client falls behind, tell how far, and go on when it has caught up."""
    most = 0
    for _ in range(count):
        socket.send(b"f" * 65536)
        most = max(most, socket.buffered_bytes)
        await socket.writable()
    socket.send(json.dumps({"most": most}).encode())


def resident_bytes() -> int:
    """The memory that this process holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


async def verify_server(request: RequestInfo) -> ServerName:
    """Stands for the check of X-Matrix signatures."""
    if request.header("authorization") != "X-Matrix origin=remote":
        raise Unauthorized("The request is not signed.")
    return ServerName("remote")


def main() -> None:
    """Listen on a free port until the end of stdin or SIGTERM."""
    settings: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    reactor = cast(Any, the_reactor)
    start_logging("debug" if settings.get("debug") else "info", LogFile(None), "json")
    clock = ReactorClock(reactor)
    desk = Desk(clock)
    metrics = Metrics()
    server = HttpServer(
        reactor,
        clock,
        (*bind(endpoints(__name__), desk), *bind(OPERATIONS, Operations(metrics, clock, desk.check))),
        AccessControl(Tokens(clock), verify_server),
        Limiter(clock, enabled=settings.get("rate_limits", False)),
        metrics,
        (DatabaseAway,),
        heartbeat=Heartbeat(*settings.get("heartbeat", ())),
    )
    tls = None
    if "certificate" in settings:
        tls = Tls(certificate=Path(settings["certificate"]), private_key=Path(settings["private_key"]))
    serves = settings.get("serves", ["client", "media", "federation", "admin", "metrics"])
    server.open([Listener(port=0, serves=tuple(serves), tls=tls)])

    async def stop() -> None:
        stopped = Deferred.fromCoroutine(server.stop(10.0))
        desk.stopping.callback(None)
        await stopped

    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))
    print(json.dumps({"port": server.ports[0]}), flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
