"""Unsigned requests to the web: .well-known files, push gateways, pages to preview. Follows redirects where asked to.

The same rules as towards homeservers: addresses are judged, certificates verified, bodies limited.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

from twisted.internet.defer import Deferred

from federation.outbound.agent import ExchangeFailed, HttpAgent, HttpAnswer, Peer
from federation.outbound.bodies import BodyTooLong
from homeserver.core.discovery import Route, split_server_name
from homeserver.runtime.clock import Clock
from homeserver.runtime.time_limit import TookTooLong, within

# What RFC 3986 lets stand in a path or query as it is; "%" because what is escaped already must stay so.
_LEGAL: Final = "%/:@!$&'()*+,;=?-._~"
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_TOO_LONG: Final = 8_192


class WebFailed(Exception):
    """There was no answer that can be used; the text says why."""


class WebClient:
    """Fetches URLs."""

    def __init__(self, agent: HttpAgent, clock: Clock, user_agent: str) -> None:
        self._agent = agent
        self._clock = clock
        self._user_agent = user_agent

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        timeout_s: float,
        limit_bytes: int,
        max_redirects: int = 0,
        plain_http: bool = False,
        take: Callable[[bytes], object] | None = None,
        opened: Callable[[HttpAnswer], object] | None = None,
    ) -> HttpAnswer:
        """The answer to a request, whatever its status. Raises WebFailed. `take`, `opened`: see HttpAgent.request.

        Without `plain_http` only https is spoken, also after redirects. Redirects are followed for GET alone.
        """
        following = max_redirects if method == "GET" else 0

        async def ask(peer: Peer, target: str) -> HttpAnswer:
            sent = {"User-Agent": self._user_agent, **(headers or {})}
            return await self._agent.request(
                peer, method, target, sent, body, limit_bytes=limit_bytes, take=take, opened=opened
            )

        work = _follow(ask, url, following, plain_http)
        try:
            return await within(self._clock, timeout_s, work)
        except (ExchangeFailed, BodyTooLong, TookTooLong) as error:
            raise WebFailed(f"{url[:300]}: {error}") from error


async def _follow(
    ask: Callable[[Peer, str], Coroutine[Deferred[Any], Any, HttpAnswer]],
    url: str,
    redirects_left: int,
    plain_http: bool,
) -> HttpAnswer:
    """The answer at the end of the redirects, or the first redirect past their number."""
    seen = {url}
    while True:
        answer = await ask(*split_url(url, plain_http))
        location = answer.headers.get("location")
        if answer.status not in _REDIRECTS or location is None or not redirects_left:
            return answer
        try:
            url = urljoin(url, location).partition("#")[0]
        except ValueError:
            raise WebFailed(f"{url[:300]} redirects to what is not a URL") from None
        if url in seen:
            raise WebFailed(f"{url[:300]} redirects in a circle")
        seen.add(url)
        redirects_left -= 1


def split_url(url: str, plain_http: bool) -> tuple[Peer, str]:
    """Whom to ask for a URL, and for what. Raises WebFailed."""
    if len(url) > _TOO_LONG:
        raise WebFailed(f"{url[:300]}… is too long for a URL")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
        host = host if host.isascii() else host.encode("idna").decode("ascii")
        shown = f"[{host}]" if ":" in host else host
        split_server_name(shown)
        target = quote(parts.path or "/", _LEGAL) + (f"?{quote(parts.query, _LEGAL)}" if parts.query else "")
    except ValueError:
        raise WebFailed(f"{url[:300]!r} is not a URL") from None
    if parts.scheme != "https" and not (plain_http and parts.scheme == "http"):
        raise WebFailed(f"{url[:300]!r} is not https")
    if parts.username is not None or port == 0:
        raise WebFailed(f"{url[:300]!r} names a user, or no port")
    usual = 443 if parts.scheme == "https" else 80
    route = Route.direct(shown if port in (None, usual) else f"{shown}:{port}", host, port or usual)
    return Peer(route, secure=parts.scheme == "https"), target
