"""One signed request to another server: `await client.get("example.org", "/_matrix/federation/v1/version")`.

Specification: server-server API, "API standards", "Request Authentication". Finds the server, keeps to its back-off
and to a number of requests at a time, signs, limits time and size, and turns what comes back into JSON or an error.
Redirects are not followed: a signature is for one server and one target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias
from urllib.parse import quote, urlencode

import msgspec
from twisted.internet.defer import Deferred

from federation.outbound import x_matrix
from federation.outbound.agent import ExchangeFailed, HttpAgent, HttpAnswer, Peer
from federation.outbound.bodies import BodyTooLong
from federation.outbound.destinations import Destinations
from federation.outbound.errors import RemoteNonsense, RemoteRefused, RemoteUnreachable
from federation.outbound.pace import Pace
from federation.outbound.resolver import Resolver
from federation.outbound.space import Space
from federation.outbound.waiting import Lanes
from homeserver.core import canonical_json
from homeserver.core.canonical_json import MAX_FEDERATION_NESTING, BadJson, JsonObject
from homeserver.core.discovery import NoService, split_server_name
from homeserver.core.ids import InvalidId
from homeserver.core.signatures import Signer
from homeserver.runtime.clock import Clock
from homeserver.runtime.time_limit import TookTooLong, within

Query: TypeAlias = Mapping[str, str | int | bool | Sequence[str] | None]

MEBIBYTE: Final = 1024 * 1024
TIMEOUT_S: Final = 30.0
LIMIT_BYTES: Final = 10 * MEBIBYTE
REQUESTS_PER_SERVER: Final = 10
REQUESTS_AT_ONCE: Final = 400
LARGE_PER_SERVER: Final = 2
LARGE_AT_ONCE: Final = 16
"""Answers that are too large to be held: each has megabytes in memory while it comes."""
LARGE_BYTES: Final = 2048 * MEBIBYTE
LARGE_BYTES_PER_SERVER: Final = 700 * MEBIBYTE


class _Order(msgspec.Struct, frozen=True):
    """Everything about a request but how often it was tried."""

    destination: str
    method: str
    target: str
    body: bytes | None
    signed: bool
    limit_bytes: int
    take: Callable[[bytes], object] | None
    opened: Callable[[HttpAnswer], object] | None = None


class FederationClient:
    """Asks other servers, in the name of this one."""

    def __init__(
        self,
        agent: HttpAgent,
        resolver: Resolver,
        destinations: Destinations,
        signer: Signer,
        clock: Clock,
        user_agent: str,
    ) -> None:
        self._agent = agent
        self._resolver = resolver
        self._destinations = destinations
        self._signer = signer
        self._clock = clock
        self._user_agent = user_agent
        self._lanes = Lanes(REQUESTS_PER_SERVER, REQUESTS_AT_ONCE)
        self._large_lanes = Lanes(LARGE_PER_SERVER, LARGE_AT_ONCE)
        self.space = Space(LARGE_BYTES, LARGE_BYTES_PER_SERVER)
        """For what is put down of large answers."""

    async def get(
        self,
        destination: str,
        path: str,
        query: Query | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        limit_bytes: int = LIMIT_BYTES,
        ignore_backoff: bool = False,
        signed: bool = True,
    ) -> JsonObject:
        """GET; the path is percent-encoded already (see `path`). Raises RemoteError."""
        order = _Order(destination, "GET", with_query(path, query), None, signed, limit_bytes, None)
        return _json(destination, await self._send(order, timeout_s, ignore_backoff, repeatable=True))

    async def put(
        self,
        destination: str,
        path: str,
        query: Query | None = None,
        body: JsonObject | bytes = b"{}",
        *,
        timeout_s: float = TIMEOUT_S,
        limit_bytes: int = LIMIT_BYTES,
        ignore_backoff: bool = False,
    ) -> JsonObject:
        """PUT; a body given as bytes must be canonical JSON. Raises RemoteError."""
        order = _Order(destination, "PUT", with_query(path, query), _encoded(body), True, limit_bytes, None)
        return _json(destination, await self._send(order, timeout_s, ignore_backoff, repeatable=True))

    async def put_for_bytes(
        self, destination: str, path: str, query: Query | None, body: bytes, *, timeout_s: float, limit_bytes: int
    ) -> bytes:
        """PUT with an answer that is no JSON object: its body as it came. Raises RemoteError."""
        order = _Order(destination, "PUT", with_query(path, query), body, True, limit_bytes, None)
        answer = await self._send(order, timeout_s, False, repeatable=True)
        if not 200 <= answer.status < 300:
            raise _refusal(destination, answer)
        return answer.body

    async def hand_on(
        self,
        destination: str,
        path: str,
        query: Query | None,
        body: bytes | None = None,
        *,
        take: Callable[[bytes], object],
        opened: Callable[[HttpAnswer], object],
        timeout_s: float,
        limit_bytes: int,
    ) -> None:
        """GET, or PUT if there is a body, with an answer too large to be held: `take` gets it in pieces as they come.

        `opened` is called before the first piece, and again where it comes anew. Raises RemoteError, and NotTaken where
        `take` fails.
        """
        method = "GET" if body is None else "PUT"
        order = _Order(destination, method, with_query(path, query), body, True, limit_bytes, take, opened)
        await self._enter(self._large_lanes, destination, timeout_s)
        try:
            answer = await self._send(order, timeout_s, False, repeatable=True)
        finally:
            self._large_lanes.leave(destination)
        if answer.status != 200:
            raise _refusal(destination, answer)

    async def post(
        self,
        destination: str,
        path: str,
        query: Query | None = None,
        body: JsonObject | bytes = b"{}",
        *,
        timeout_s: float = TIMEOUT_S,
        limit_bytes: int = LIMIT_BYTES,
        ignore_backoff: bool = False,
        repeatable: bool = True,
        signed: bool = True,
    ) -> JsonObject:
        """POST; not `repeatable` is what must not happen twice, such as the claim of a one-time key."""
        order = _Order(destination, "POST", with_query(path, query), _encoded(body), signed, limit_bytes, None)
        return _json(destination, await self._send(order, timeout_s, ignore_backoff, repeatable=repeatable))

    async def download(
        self,
        destination: str,
        path: str,
        query: Query | None = None,
        *,
        take: Callable[[bytes], object],
        opened: Callable[[HttpAnswer], object] | None = None,
        timeout_s: float,
        limit_bytes: int,
    ) -> HttpAnswer:
        """GET of something that is no JSON. Redirects (3xx) are for the caller to judge.

        `opened` gets the answer without its body first, `take` then the pieces; if they raise, it ends (NotTaken).
        """
        order = _Order(destination, "GET", with_query(path, query), None, True, limit_bytes, take, opened)
        answer = await self._send(order, timeout_s, False, repeatable=False)
        if answer.status >= 400:
            raise _refusal(destination, answer)
        return answer

    async def _send(self, order: _Order, timeout_s: float, ignore_backoff: bool, *, repeatable: bool) -> HttpAnswer:
        destination = order.destination
        if destination == self._signer.server:
            raise RemoteUnreachable(destination, "is this server, which does not ask itself")
        if not self._resolver.knows(destination):
            try:
                split_server_name(destination)
            except InvalidId as error:
                raise RemoteUnreachable(destination, str(error)) from None
        if not ignore_backoff:
            self._destinations.check(destination)
        await self._enter(self._lanes, destination, timeout_s)
        asked_at_ms = self._clock.now_ms()
        try:
            answer = await self._ask(order, timeout_s, repeatable)
        except (ExchangeFailed, TookTooLong) as error:
            self._resolver.forget(destination)
            self._destinations.failed(destination, asked_at_ms)
            raise RemoteUnreachable(destination, str(error)) from error
        except NoService as error:
            self._destinations.failed(destination, asked_at_ms)
            raise RemoteUnreachable(destination, str(error)) from error
        except BodyTooLong as error:
            raise RemoteNonsense(destination, str(error)) from error
        finally:
            self._lanes.leave(destination)
        if answer.status >= 500:
            self._destinations.failed(destination, asked_at_ms)
        else:
            self._destinations.heard_from(destination)
        return answer

    async def _enter(self, lanes: Lanes, destination: str, timeout_s: float) -> None:
        if not lanes.enter_now(destination):
            try:
                await within(self._clock, timeout_s, lanes.enter(destination))
            except TookTooLong:
                raise RemoteUnreachable(destination, "has too many requests of ours to answer already") from None

    async def _ask(self, order: _Order, timeout_s: float, repeatable: bool) -> HttpAnswer:
        if order.take is not None:
            pace = Pace(self._clock, order.take)
            work = pace.keep(self._attempt(msgspec.structs.replace(order, take=pace.take), repeatable))
            return await within(self._clock, timeout_s, work)
        asked_s, tries = self._clock.monotonic_s(), 0
        asked = self._ask_at_once(order)
        if asked is not None:
            try:
                return await within(self._clock, timeout_s, asked)
            except ExchangeFailed:
                if not repeatable:
                    raise
            # The connection may have been closed by the other side just now: once more, on a new one.
            tries = 1
        left_s = max(0.0, timeout_s - (self._clock.monotonic_s() - asked_s))
        return await within(self._clock, left_s, self._attempt(order, repeatable, tries))

    def _ask_at_once(self, order: _Order) -> Deferred[HttpAnswer] | None:
        """The short way, which nearly all requests go: the server is known, and a connection to it open."""
        route = self._resolver.known_route(order.destination)
        if route is None:
            return None
        return self._agent.ask_kept(
            Peer(route), order.method, order.target, self._headers(order), order.body, limit_bytes=order.limit_bytes
        )

    def _headers(self, order: _Order) -> dict[str, str]:
        headers = {"User-Agent": self._user_agent}
        if order.signed:
            headers["Authorization"] = x_matrix.authorization(
                self._signer, order.destination, order.method, order.target, order.body
            )
        if order.body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    async def _attempt(self, order: _Order, repeatable: bool, tries: int = 0) -> HttpAnswer:
        route = await self._resolver.route(order.destination)
        headers = self._headers(order)
        while True:
            tries += 1
            try:
                return await self._agent.request(
                    Peer(route),
                    order.method,
                    order.target,
                    headers,
                    order.body,
                    limit_bytes=order.limit_bytes,
                    take=order.take,
                    opened=order.opened,
                )
            except ExchangeFailed as error:
                # As above: a connection that was kept may have been closed.
                if not error.may_have_arrived or not repeatable or tries > 1:
                    raise


def path(template: str, *arguments: str) -> str:
    """A path with its arguments percent-encoded: path("/_matrix/federation/v1/event/{}", event_id)."""
    return template.format(*(quote(argument, safe="") for argument in arguments))


def with_query(encoded_path: str, query: Query | None) -> str:
    """The target of a request: path and query string. Entries that are None are left out."""
    if not query:
        return encoded_path
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        if isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif isinstance(value, str | int):
            pairs.append((name, str(value)))
        elif value is not None:
            pairs += [(name, each) for each in value]
    encoded = urlencode(pairs, quote_via=quote, safe="")
    return f"{encoded_path}?{encoded}" if encoded else encoded_path


def _encoded(body: JsonObject | bytes) -> bytes:
    return body if isinstance(body, bytes) else canonical_json.encode_lenient(body)


def _json(destination: str, answer: HttpAnswer) -> JsonObject:
    if not 200 <= answer.status < 300:
        raise _refusal(destination, answer)
    try:
        return canonical_json.decode_object(answer.body, MAX_FEDERATION_NESTING)
    except BadJson as error:
        raise RemoteNonsense(destination, f"answered with what is no JSON object: {error}") from None


def _refusal(destination: str, answer: HttpAnswer) -> RemoteRefused:
    body: JsonObject = {}
    try:
        body = canonical_json.decode_object(answer.body[:MEBIBYTE])
    except BadJson:
        body = {}
    errcode, message = body.get("errcode"), body.get("error")
    return RemoteRefused(
        destination,
        answer.status,
        errcode if isinstance(errcode, str) else None,
        message if isinstance(message, str) else "",
        body,
        _retry_after_ms(answer, body),
    )


def _retry_after_ms(answer: HttpAnswer, body: JsonObject) -> int | None:
    """What the header says, or the body of older servers (client-server API, "Rate limiting")."""
    seconds = answer.headers.get("retry-after", "")
    if seconds.isdecimal() and len(seconds) < 10:
        return int(seconds) * 1000
    wait_ms = body.get("retry_after_ms")
    return wait_ms if isinstance(wait_ms, int) and 0 <= wait_ms < 10**12 else None
