"""Refusals, as services and doors raise them, and as HTTP carries them.

Raise a `MatrixError` from wherever the refusal is known; `homeserver.web.gate` turns it into the standard error
response (client-server API, "Standard error response"). The constructors name the usual ones, so that status and code
always go together. Messages are sentences for the one who must act.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from homeserver.core.canonical_json import JsonValue


class MatrixError(Exception):
    """A refusal with its HTTP status and error code; `extra` are further keys of the JSON body."""

    def __init__(
        self, status: int, errcode: str, message: str, headers: Mapping[str, str] | None = None, /, **extra: JsonValue
    ) -> None:
        super().__init__(message)
        self.status = status
        self.errcode = errcode
        self.message = message
        self.extra = extra
        self.headers: Mapping[str, str] = headers or {}

    def body(self) -> bytes:
        """The standard error response as JSON."""
        return msgspec.json.encode({"errcode": self.errcode, "error": self.message, **self.extra})

    def __str__(self) -> str:
        return f"{self.status} {self.errcode}: {self.message}"


class Forbidden(MatrixError):
    """The requester may not do this."""

    def __init__(self, message: str, errcode: str = "M_FORBIDDEN", **extra: JsonValue) -> None:
        super().__init__(403, errcode, message, **extra)


class NotFound(MatrixError):
    """There is no such thing, or the requester may not learn of it."""

    def __init__(self, message: str, errcode: str = "M_NOT_FOUND", **extra: JsonValue) -> None:
        super().__init__(404, errcode, message, **extra)


class Conflict(MatrixError):
    """The thing is in another state already. (Most such refusals of the specification are 400: `BadRequest`.)"""

    def __init__(self, message: str, errcode: str, **extra: JsonValue) -> None:
        super().__init__(409, errcode, message, **extra)


class BadRequest(MatrixError):
    """The request makes no sense for a reason that has its own error code."""

    def __init__(self, message: str, errcode: str, **extra: JsonValue) -> None:
        super().__init__(400, errcode, message, **extra)


class NotJson(MatrixError):
    """The body is not JSON at all."""

    def __init__(self, message: str = "The request body is not valid JSON.") -> None:
        super().__init__(400, "M_NOT_JSON", message)


class BadJson(MatrixError):
    """The body is JSON, but not of the form that this endpoint needs."""

    def __init__(self, message: str, **extra: JsonValue) -> None:
        super().__init__(400, "M_BAD_JSON", message, **extra)


class MissingParam(MatrixError):
    """A required parameter is not there."""

    def __init__(self, message: str, **extra: JsonValue) -> None:
        super().__init__(400, "M_MISSING_PARAM", message, **extra)


class InvalidParam(MatrixError):
    """A parameter has the wrong form."""

    def __init__(self, message: str, **extra: JsonValue) -> None:
        super().__init__(400, "M_INVALID_PARAM", message, **extra)


class MissingToken(MatrixError):
    """No access token came with the request."""

    def __init__(
        self, message: str = "This needs an access token: send the header Authorization: Bearer TOKEN."
    ) -> None:
        super().__init__(401, "M_MISSING_TOKEN", message)


class UnknownToken(MatrixError):
    """The access token is not valid (any more). With `soft_logout` the client may log in again and keep its keys."""

    def __init__(
        self, message: str = "This access token is not known here: log in again.", soft_logout: bool = False
    ) -> None:
        super().__init__(401, "M_UNKNOWN_TOKEN", message, soft_logout=soft_logout)


class Unauthorized(MatrixError):
    """The request carries no acceptable proof of who sent it, such as a missing or wrong signature of a server."""

    def __init__(self, message: str, errcode: str = "M_UNAUTHORIZED") -> None:
        super().__init__(401, errcode, message)


class GuestAccessForbidden(MatrixError):
    """Guests may not use this endpoint."""

    def __init__(self, message: str = "Guests may not do this: register an account.") -> None:
        super().__init__(403, "M_GUEST_ACCESS_FORBIDDEN", message)


class Unrecognized(MatrixError):
    """No such endpoint (404), or not with this method (405)."""

    def __init__(self, message: str = "There is no such endpoint.") -> None:
        super().__init__(404, "M_UNRECOGNIZED", message)


class MethodNotAllowed(MatrixError):
    """The endpoint exists, but not with this method."""

    def __init__(self, allowed: str) -> None:
        message = f"This endpoint answers to these methods: {allowed}."
        super().__init__(405, "M_UNRECOGNIZED", message, {"Allow": allowed})


class TooLarge(MatrixError):
    """The body is larger than this endpoint takes."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413, "M_TOO_LARGE", f"The request body may have at most {limit_bytes} bytes here.")


class LimitExceeded(MatrixError):
    """Too many requests; says when the next one will be taken."""

    def __init__(self, retry_after_ms: int, message: str = "Too many requests: wait before the next one.") -> None:
        seconds = max(1, -(-retry_after_ms // 1000))
        headers = {"Retry-After": str(seconds)}
        super().__init__(429, "M_LIMIT_EXCEEDED", message, headers, retry_after_ms=retry_after_ms)


class Unavailable(MatrixError):
    """The server cannot do this just now; the same request may succeed later."""

    def __init__(
        self, message: str = "The server cannot answer just now: try again soon.", retry_after_s: int = 5
    ) -> None:
        super().__init__(503, "M_UNKNOWN", message, {"Retry-After": str(retry_after_s)})


class InternalError(MatrixError):
    """A mistake of ours; the request id leads an admin to the log."""

    def __init__(self, request_id: str) -> None:
        super().__init__(500, "M_UNKNOWN", f"The server made a mistake; its log has more under request {request_id}.")
