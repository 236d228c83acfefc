"""The way of one request: match, who asks, limit, decode, call, encode. The place that turns errors into answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import msgspec
import structlog
from twisted.internet.defer import CancelledError

from homeserver.runtime import logs
from homeserver.runtime.clock import Clock
from homeserver.web.access import Access, AccessControl, Requester
from homeserver.web.answer import (
    COMPRESS_FROM_BYTES,
    COMPRESS_IN_THREAD_FROM_BYTES,
    compress,
    compressed_stream,
    takes_gzip,
)
from homeserver.web.endpoint import Declaration
from homeserver.web.errors import BadRequest, InternalError, MatrixError, Unavailable
from homeserver.web.limits import Limiter, address_key
from homeserver.web.measures import EndpointMeasures, HttpMeasures
from homeserver.web.plan import BoundEndpoint
from homeserver.web.request import ConnectionAborted, RequestInfo
from homeserver.web.response import Response, StreamedResponse
from homeserver.web.router import Match, Router

Answer = Response | StreamedResponse
InThread = Callable[[Callable[[bytes], bytes], bytes], Awaitable[bytes]]

TOLD_REFUSALS: Final = frozenset((400, 401, 403, 413))
"""What another server is not told without a line in the log. That there is no such thing (404) is everyday."""

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_PREFLIGHT: Final = Response(204, MappingProxyType({"Access-Control-Max-Age": "86400"}), b"")
_GZIP_HEADERS: Final = MappingProxyType({"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class GatedEndpoint:
    """An endpoint with its measures."""

    bound: BoundEndpoint
    declaration: Declaration
    measures: EndpointMeasures


RequestMatch = Match[GatedEndpoint]


class Gate:
    """What a listener's requests go through.

    `unavailable` are the exceptions that mean: try again later (503), such as a database that is away.
    `in_thread` runs a function elsewhere, for the compression of large answers.
    """

    def __init__(
        self,
        endpoints: Iterable[BoundEndpoint],
        access: AccessControl,
        limiter: Limiter,
        clock: Clock,
        measures: HttpMeasures,
        in_thread: InThread,
        unavailable: tuple[type[Exception], ...] = (),
    ) -> None:
        gated = []
        for each in endpoints:
            declaration = each.declaration
            if declaration.limit is not None and not limiter.knows(declaration.limit):
                raise ValueError(f"{each.name}: there is no rate limit class {declaration.limit!r}")
            gated.append(GatedEndpoint(each, declaration, measures.of(declaration.method, declaration.path)))
        self._router: Router[GatedEndpoint] = Router(gated)
        self._access = access
        self._limiter = limiter
        self._clock = clock
        self._measures = measures
        self._in_thread = in_thread
        self._unavailable = unavailable
        # Bound once: structlog's lazy proxies set themselves up at each call.
        self._log = structlog.get_logger("homeserver.web").bind()

    def match(self, request: RequestInfo) -> RequestMatch | Response:
        """The endpoint, or the answer where there is none (or none is needed: OPTIONS)."""
        if request.method == "OPTIONS":
            # The server must not perform any logic of the endpoint for OPTIONS.
            return _PREFLIGHT
        try:
            return self._router.match(request.method, request.path)
        except MatrixError as error:
            self._measures.unmatched(error.status)
            return error_response(error)

    async def serve(self, match: RequestMatch, request: RequestInfo, extra: object = None) -> Answer:
        """The answer to a request. Raises nothing but CancelledError."""
        logs.request_id.set(request.request_id)
        measures = match.endpoint.measures
        started_s = self._clock.monotonic_s()
        measures.waiting += 1
        status = 499  # what is counted where the client goes away first
        try:
            answer = await self._attempt(match, request, extra)
            status = answer.status
            return answer
        finally:
            measures.waiting -= 1
            seconds = self._clock.monotonic_s() - started_s
            measures.done(status, seconds)
            self._log.debug("request", method=request.method, path=request.path, status=status, seconds=seconds)

    async def admit(self, match: RequestMatch, request: RequestInfo) -> Requester | str | None:
        """Who asks, once that and the rate limit allow it to go on. Raises MatrixError."""
        declaration = match.endpoint.declaration
        access = declaration.access
        who: Requester | str | None = None
        if access is not Access.NONE:
            if access is Access.SERVER:
                who = await self._access.server(request)
            else:
                who = self._access.known(request, access) or await self._access.requester(request, access)
        if declaration.limit is not None:
            self._spend(declaration.limit, who, request)
        return who

    def refusal(self, error: Exception, request: RequestInfo) -> MatrixError:
        """What a client is told about an exception; the log is told the rest."""
        if isinstance(error, MatrixError):
            return error
        if isinstance(error, ConnectionAborted):
            return BadRequest("The connection was closed in the middle of the request.", "M_UNKNOWN")
        if self._unavailable and isinstance(error, self._unavailable):
            self._log.warning("request failed: unavailable", path=request.path, reason=str(error))
            return Unavailable()
        self._log.error("request failed", method=request.method, path=request.path, exc_info=error)
        return InternalError(request.request_id)

    def note_refused(self, match: RequestMatch, error: MatrixError, request: RequestInfo, who: object = None) -> None:
        """Say in the log why another server was refused."""
        if match.endpoint.declaration.access is Access.SERVER and error.status in TOLD_REFUSALS:
            self._log.info(
                "another server was refused",
                server=who or "unknown",
                ip=request.ip,
                method=request.method,
                path=request.path[:300],
                status=error.status,
                reason=error.message[:300],
            )

    async def _attempt(self, match: RequestMatch, request: RequestInfo, extra: object) -> Answer:
        who: Requester | str | None = None
        try:
            who = await self.admit(match, request)
            value = await match.endpoint.bound.call(match.arguments, who, request, extra)
            if isinstance(value, StreamedResponse):
                compresses = value.compresses and takes_gzip(request.headers.get("accept-encoding"))
                return self._compressing(value) if compresses else value
            if isinstance(value, Response):
                return value
            body = value if type(value) is bytes else b"{}" if value is None else _encode(value)
            if len(body) >= COMPRESS_FROM_BYTES and takes_gzip(request.headers.get("accept-encoding")):
                return Response(200, _GZIP_HEADERS, await self._compressed(body))
            return Response(200, _NO_HEADERS, body)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it is, the client gets an answer and the log the rest
            refusal = self.refusal(error, request)
            self.note_refused(match, refusal, request, who)
            return error_response(refusal)

    def _spend(self, limit: str, who: Requester | str | None, request: RequestInfo) -> None:
        if isinstance(who, Requester):
            # Bridges speak for many users at once; admins must be able to mend things.
            if who.appservice_id is None and not who.is_admin:
                self._limiter.spend(limit, who.user_id)
        else:
            self._limiter.spend(limit, who or address_key(request.ip))

    def _compressing(self, answer: StreamedResponse) -> StreamedResponse:
        chunks = compressed_stream(answer.chunks, self._in_thread)
        return StreamedResponse(chunks, answer.status, {**answer.headers, **_GZIP_HEADERS})

    async def _compressed(self, body: bytes) -> bytes:
        if len(body) < COMPRESS_IN_THREAD_FROM_BYTES:
            return compress(body)
        return await self._in_thread(compress, body)


def error_response(error: MatrixError) -> Response:
    """The standard error response."""
    return Response(error.status, error.headers, error.body())
