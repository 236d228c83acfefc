"""Sessions of user-interactive authentication: kept, used up, expired."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from homeserver.core import uia
from homeserver.runtime.clock import FakeClock
from homeserver.users.uia_sessions import AuthenticationNeeded, UiaSessions
from homeserver.web.errors import BadRequest, Forbidden

FLOWS = ((uia.PASSWORD, uia.DUMMY),)


def require(sessions: UiaSessions, auth: Any, purpose: str = "test") -> uia.Session:
    """Ask for it; the password is `right`."""

    async def check(attempt: uia.Attempt) -> uia.Verdict:
        assert isinstance(attempt, uia.PasswordAttempt)
        return uia.Accepted() if attempt.password == "right" else uia.Refused("M_FORBIDDEN", "wrong")

    found: list[uia.Session] = []
    failures: list[Exception] = []
    work = Deferred.fromCoroutine(sessions.require(auth, purpose, FLOWS, check))
    work.addCallbacks(found.append, lambda failure: failures.append(failure.value))
    if failures:
        raise failures[0]
    return found[0]


def begin(sessions: UiaSessions) -> str:
    """The id of a new session."""
    with pytest.raises(AuthenticationNeeded) as needed:
        require(sessions, None)
    return str(needed.value.challenge["session"])


def password(session: str, text: str = "right") -> dict[str, str]:
    """The first stage."""
    return {"type": uia.PASSWORD, "session": session, "user": "romeo", "password": text}


def test_stages_are_remembered_between_requests() -> None:
    sessions = UiaSessions(FakeClock())
    session = begin(sessions)
    with pytest.raises(AuthenticationNeeded) as needed:
        require(sessions, password(session))
    assert needed.value.challenge["completed"] == [uia.PASSWORD]
    assert require(sessions, {"type": uia.DUMMY, "session": session}).is_complete()


def test_a_completed_session_is_good_until_what_it_allows_is_done() -> None:
    sessions = UiaSessions(FakeClock())
    session = begin(sessions)
    with pytest.raises(AuthenticationNeeded):
        require(sessions, password(session))
    complete = require(sessions, {"type": uia.DUMMY, "session": session})
    assert require(sessions, {"session": session}) == complete
    sessions.done(complete)
    with pytest.raises(BadRequest):
        require(sessions, {"session": session})


def test_a_wrong_password_does_not_end_the_session() -> None:
    sessions = UiaSessions(FakeClock())
    session = begin(sessions)
    with pytest.raises(AuthenticationNeeded) as needed:
        require(sessions, password(session, "wrong"))
    assert needed.value.challenge["errcode"] == "M_FORBIDDEN"
    assert "completed" not in needed.value.challenge


def test_a_session_that_took_too_long_is_gone() -> None:
    clock = FakeClock()
    sessions = UiaSessions(clock)
    session = begin(sessions)
    clock.advance(uia.SESSION_LIFETIME_MS / 1000 + 1)
    with pytest.raises(BadRequest):
        require(sessions, password(session))


def test_a_session_for_another_request_is_refused() -> None:
    sessions = UiaSessions(FakeClock())
    session = begin(sessions)
    with pytest.raises(Forbidden):
        require(sessions, password(session), purpose="other")


def test_only_so_many_sessions_are_kept() -> None:
    sessions = UiaSessions(FakeClock(), max_sessions=10)
    first = begin(sessions)
    later = [begin(sessions) for _ in range(10)]
    with pytest.raises(BadRequest):
        require(sessions, password(first))
    with pytest.raises(AuthenticationNeeded):
        require(sessions, password(later[0]))
