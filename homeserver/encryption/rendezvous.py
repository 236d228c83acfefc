"""Rendezvous sessions: two devices of a user, of which one is not logged in yet, exchange small encrypted texts.

Outside the specification: MSC4108 (2024) and MSC4388, login by QR code. Sessions live in memory, for minutes, bounded
in number and size: anyone may open one. Whoever knows a session's id may read and replace its text; a replacement names
the text it replaces, so that neither device overwrites what it has not read.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from homeserver.runtime.clock import Clock
from homeserver.runtime.lru import Lru
from homeserver.web.errors import NotFound, TooLarge

MAX_BYTES: Final = 4_096
MAX_SESSIONS: Final = 2_000
LIFETIME_MS: Final = 5 * 60_000


@dataclass(frozen=True, slots=True)
class Session:
    """A text with the mark of this version of it."""

    session_id: str
    content_type: str
    text: bytes
    etag: str
    changed_ms: int
    expires_ms: int


class Overtaken(Exception):
    """The text that was to be replaced is not there any more: the other device has written in the meantime."""

    def __init__(self, session: Session) -> None:
        super().__init__("The other device has changed the text: read it first.")
        self.session = session


class Rendezvous:
    """All sessions."""

    def __init__(
        self,
        clock: Clock,
        base_url: str,
        lifetime_ms: int = LIFETIME_MS,
        max_sessions: int = MAX_SESSIONS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._base_url = base_url.rstrip("/")
        self._lifetime_ms = lifetime_ms
        self._sessions: Lru[str, Session] = Lru(max_sessions)

    def open(self, content_type: str, text: bytes) -> Session:
        """A new session; should there be too many, the one that was not used for longest ends."""
        now_ms = self._clock.now_ms()
        return self._keep(secrets.token_urlsafe(24), content_type, text, now_ms, now_ms + self._lifetime_ms)

    def url_of(self, session: Session) -> str:
        """Where the session is found."""
        return f"{self._base_url}/_synapse/client/rendezvous/{session.session_id}"

    def get(self, session_id: str) -> Session:
        """A session. Raises NotFound if there is none, or its time is over."""
        session = self._sessions.get(session_id)
        if session is not None and session.expires_ms <= self._clock.now_ms():
            self._sessions.discard(session_id)
            session = None
        if session is None:
            raise NotFound("There is no such rendezvous session (any more).")
        return session

    def replace(self, session_id: str, etag: str, content_type: str, text: bytes) -> Session:
        """Replace the text that has this mark. Raises Overtaken if it has another one by now."""
        session = self.get(session_id)
        if etag != session.etag:
            raise Overtaken(session)
        return self._keep(session_id, content_type, text, self._clock.now_ms(), session.expires_ms)

    def end(self, session_id: str) -> None:
        """End a session. Raises NotFound if there is none."""
        self.get(session_id)
        self._sessions.discard(session_id)

    def left_ms(self, session: Session) -> int:
        """How long a session goes on."""
        return max(0, session.expires_ms - self._clock.now_ms())

    def _keep(self, session_id: str, content_type: str, text: bytes, now_ms: int, expires_ms: int) -> Session:
        if len(text) > self._max_bytes:
            raise TooLarge(self._max_bytes)
        session = Session(session_id, content_type, text, f'"{secrets.token_hex(12)}"', now_ms, expires_ms)
        self._sessions.put(session_id, session)
        return session


def headers_of(session: Session) -> dict[str, str]:
    """What is told of a session beside its text."""
    return {
        "ETag": session.etag,
        "Expires": http_date(session.expires_ms),
        "Last-Modified": http_date(session.changed_ms),
        "Cache-Control": "no-store",
        "Pragma": "no-cache",
    }


def http_date(time_ms: int) -> str:
    """A time as headers have it."""
    return formatdate(time_ms / 1000, usegmt=True)
