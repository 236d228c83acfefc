"""Rendezvous sessions end with their time, and do not fill the memory."""

from __future__ import annotations

import pytest

from homeserver.encryption.rendezvous import Rendezvous
from homeserver.runtime.clock import FakeClock
from homeserver.web.errors import NotFound


def test_a_session_ends_when_its_time_is_over_also_if_it_was_used() -> None:
    clock = FakeClock()
    sessions = Rendezvous(clock, "https://example.org/", lifetime_ms=1000)
    session = sessions.open("text/plain", b"x")
    assert sessions.url_of(session).startswith("https://example.org/_synapse/client/rendezvous/")
    clock.advance(0.9)
    session = sessions.replace(session.session_id, session.etag, "text/plain", b"y")
    clock.advance(0.2)
    with pytest.raises(NotFound):
        sessions.get(session.session_id)


def test_of_too_many_sessions_the_longest_unused_one_ends() -> None:
    sessions = Rendezvous(FakeClock(), "https://example.org", max_sessions=2)
    first, second = (sessions.open("text/plain", b"x") for _ in range(2))
    sessions.get(first.session_id)
    sessions.open("text/plain", b"z")
    assert sessions.get(first.session_id) == first
    with pytest.raises(NotFound):
        sessions.get(second.session_id)
