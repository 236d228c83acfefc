"""User-interactive authentication: keeps the sessions, and has the credentials of each stage checked.

The rules are those of `homeserver.core.uia`. Sessions live in memory: a client whose session a restart has ended begins
a new one. Specification: client-server API, "User-Interactive Authentication API".
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from homeserver.core import uia
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.runtime.clock import Clock
from homeserver.runtime.lru import Lru
from homeserver.web.errors import BadRequest, Forbidden, MatrixError

MAX_SESSIONS: Final = 10_000

Check = Callable[[uia.Attempt], Awaitable[uia.Verdict]]
"""Finds out whether a password or a registration token is right."""


class AuthenticationNeeded(MatrixError):
    """The client has to pass more stages: status 401, with the flows instead of an error."""

    def __init__(self, challenge: uia.Challenge) -> None:
        super().__init__(401, "M_FORBIDDEN", "This needs user-interactive authentication.")
        self.challenge: JsonObject = challenge.body()

    def body(self) -> bytes:
        """The flows and how far the client has come."""
        return msgspec.json.encode(self.challenge)


class UiaSessions:
    """All sessions of user-interactive authentication that are under way."""

    def __init__(self, clock: Clock, max_sessions: int = MAX_SESSIONS) -> None:
        self._clock = clock
        self._sessions: Lru[str, uia.Session] = Lru(max_sessions)

    async def require(self, auth: JsonValue, purpose: str, flows: tuple[uia.Flow, ...], check: Check) -> uia.Session:
        """The session once all stages of a flow are passed. Raises AuthenticationNeeded until then.

        The session is kept until `done`: what it authorises may yet be refused for another reason.
        """
        if auth is None:
            raise AuthenticationNeeded(uia.Challenge(self._begin(purpose, flows)))
        try:
            session = self._find(auth, purpose, flows)
            attempt = uia.parse_attempt(auth)
            verdict = await check(attempt) if uia.needs_verdict(session, attempt) else None
            outcome = uia.advance(session, attempt, verdict)
        except uia.BadAttempt as error:
            raise BadRequest(str(error), error.errcode) from None
        except uia.WrongSession as error:
            raise Forbidden(str(error)) from None
        self._sessions.put(session.session_id, outcome.session)
        if isinstance(outcome, uia.Challenge):
            raise AuthenticationNeeded(outcome)
        return outcome.session

    def done(self, session: uia.Session) -> None:
        """What the session authorised is done: it is used up."""
        self._sessions.discard(session.session_id)

    def _find(self, auth: JsonValue, purpose: str, flows: tuple[uia.Flow, ...]) -> uia.Session:
        session_id = uia.session_id_of(auth)
        session = None if session_id is None else self._sessions.get(session_id)
        if session is None or session.is_expired(self._clock.now_ms()):
            if session_id is not None:
                raise BadRequest("There is no such authentication session (any more): begin a new one.", "M_UNKNOWN")
            # Clients that know what to say may say it at once.
            return self._begin(purpose, flows)
        session.check_purpose(purpose)
        return session

    def _begin(self, purpose: str, flows: tuple[uia.Flow, ...]) -> uia.Session:
        session = uia.begin(secrets.token_urlsafe(18), purpose, flows, self._clock.now_ms())
        self._sessions.put(session.session_id, session)
        return session
