"""Rendezvous sessions for login by QR code, as JSON. Outside the specification: MSC4388.

Clients know the end of a session under two names, by the age of the proposal that they follow.
"""

from __future__ import annotations

from typing import Final

import msgspec

from homeserver.core.rate import OTHER
from homeserver.encryption.rendezvous import Overtaken, Rendezvous, Session
from homeserver.web.endpoint import NONE, OPTIONAL, Requester, endpoint, endpoints
from homeserver.web.errors import Conflict, Forbidden, TooLarge
from homeserver.web.request import RequestInfo

PATH: Final = "/_matrix/client/unstable/io.element.msc4388/rendezvous"
MOST_CHARACTERS: Final = 4_096
LONGEST_BODY_BYTES: Final = 8 * MOST_CHARACTERS
"""In JSON a character may take six bytes."""
KIND: Final = "text/plain"


class Available(msgspec.Struct, frozen=True):
    """Whether the requester may open a session."""

    create_available: bool


class NewBody(msgspec.Struct, frozen=True):
    """The first text."""

    data: str


class NextBody(msgspec.Struct, frozen=True):
    """The next text, and which one it follows."""

    sequence_token: str
    data: str


class Opened(msgspec.Struct, frozen=True):
    """A new session."""

    id: str
    sequence_token: str
    expires_in_ms: int
    expires_ts: int


class Text(msgspec.Struct, frozen=True):
    """The text of a session."""

    data: str
    sequence_token: str
    expires_in_ms: int
    expires_ts: int


class Written(msgspec.Struct, frozen=True):
    """Which text is there now."""

    sequence_token: str


@endpoint("GET", PATH, access=OPTIONAL, limit=OTHER)
async def available(rendezvous: Rendezvous, who: Requester | None) -> Available:
    """Anybody may open a session, also who is not logged in yet: then it is the new device that shows the code."""
    return Available(create_available=True)


@endpoint("POST", PATH, access=OPTIONAL, limit=OTHER, body_limit_bytes=LONGEST_BODY_BYTES)
async def open_session(rendezvous: Rendezvous, who: Requester | None, body: NewBody) -> Opened:
    """Open a session with a first text."""
    session = rendezvous.open(KIND, _checked(body.data))
    return Opened(session.session_id, _token(session), rendezvous.left_ms(session), session.expires_ms)


@endpoint("GET", PATH + "/{session_id}", access=NONE, limit=OTHER)
async def read_session(rendezvous: Rendezvous, session_id: str, request: RequestInfo) -> Text:
    """The text."""
    if "navigate" in (request.header("sec-fetch-mode") or ""):
        # Anybody can write anything here: it is not to be shown as a page of this server.
        raise Forbidden("This is for programs, not for the address bar of a browser.")
    session = rendezvous.get(session_id)
    return Text(session.text.decode(), _token(session), rendezvous.left_ms(session), session.expires_ms)


@endpoint("PUT", PATH + "/{session_id}", access=NONE, limit=OTHER, body_limit_bytes=LONGEST_BODY_BYTES)
async def replace_text(rendezvous: Rendezvous, session_id: str, body: NextBody) -> Written:
    """Replace the text that the client has seen."""
    try:
        return Written(_token(rendezvous.replace(session_id, f'"{body.sequence_token}"', KIND, _checked(body.data))))
    except Overtaken as overtaken:
        raise Conflict(str(overtaken), "IO_ELEMENT_MSC4388_CONCURRENT_WRITE") from None


@endpoint("DELETE", PATH + "/{session_id}", access=NONE, limit=OTHER)
async def end_session(rendezvous: Rendezvous, session_id: str) -> None:
    """End the session."""
    rendezvous.end(session_id)


def _checked(data: str) -> bytes:
    if len(data) > MOST_CHARACTERS:
        raise TooLarge(MOST_CHARACTERS)
    return data.encode()


def _token(session: Session) -> str:
    return session.etag.strip('"')


ENDPOINTS = endpoints(__name__)
