"""Rendezvous sessions for login by QR code. Outside the specification: MSC4108 (2024)."""

from __future__ import annotations

import msgspec

from homeserver.core.canonical_json import JsonValue
from homeserver.core.rate import OTHER
from homeserver.encryption.rendezvous import MAX_BYTES, Overtaken, Rendezvous, Session, headers_of
from homeserver.web.endpoint import NONE, endpoint, endpoints
from homeserver.web.errors import InvalidParam, MatrixError, MissingParam
from homeserver.web.request import RequestInfo
from homeserver.web.response import Response

SESSION = "/_synapse/client/rendezvous/{session_id}"
TEXT = "text/plain"


@endpoint(
    "POST",
    "/_matrix/client/unstable/org.matrix.msc4108/rendezvous",
    access=NONE,
    limit=OTHER,
    body_limit_bytes=MAX_BYTES,
)
async def open_session(rendezvous: Rendezvous, request: RequestInfo) -> Response:
    """Open a session with a first text."""
    session = rendezvous.open(_content_type(request), request.body)
    url = rendezvous.url_of(session)
    return Response(201, headers_of(session), msgspec.json.encode({"url": url}))


@endpoint("GET", SESSION, access=NONE, limit=OTHER)
async def read_session(rendezvous: Rendezvous, session_id: str, request: RequestInfo) -> Response:
    """The text, unless the client has this version of it."""
    session = rendezvous.get(session_id)
    if request.header("if-none-match") == session.etag:
        return Response(304, headers_of(session), b"")
    return Response(200, {"Content-Type": session.content_type, **headers_of(session)}, session.text)


@endpoint("PUT", SESSION, access=NONE, limit=OTHER, body_limit_bytes=MAX_BYTES)
async def replace_text(rendezvous: Rendezvous, session_id: str, request: RequestInfo) -> Response:
    """Replace the text."""
    etag = request.header("if-match")
    if etag is None:
        raise MissingParam("The header If-Match must name the version of the text that is replaced.")
    try:
        return _accepted(rendezvous.replace(session_id, etag, _content_type(request), request.body))
    except Overtaken as overtaken:
        code: dict[str, JsonValue] = {"org.matrix.msc4108.errcode": "M_CONCURRENT_WRITE"}
        raise MatrixError(412, "M_UNKNOWN", str(overtaken), headers_of(overtaken.session), **code) from None


@endpoint("DELETE", SESSION, access=NONE, limit=OTHER)
async def end_session(rendezvous: Rendezvous, session_id: str) -> Response:
    """End the session."""
    rendezvous.end(session_id)
    return Response(204, {}, b"")


def _accepted(session: Session) -> Response:
    return Response(202, headers_of(session))


def _content_type(request: RequestInfo) -> str:
    given = request.header("content-type") or ""
    # Other kinds could be made to act in a browser, which sees this server's name.
    if given.partition(";")[0].strip().lower() != TEXT:
        raise InvalidParam("The body must be text/plain.")
    return TEXT


ENDPOINTS = endpoints(__name__)
