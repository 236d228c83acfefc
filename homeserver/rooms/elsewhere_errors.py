"""What clients are told when other servers would not, or could not, do what was asked.

A refusal that means it is passed on with its code; that nobody could be reached is a 502 or 504 of ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from federation.outbound.errors import RemoteRefused, RemoteUnreachable
from homeserver.web.errors import Forbidden, MatrixError, NotFound

PASSED_ON = frozenset(
    (
        "M_FORBIDDEN",
        "M_INVITE_BLOCKED",
        "M_INCOMPATIBLE_ROOM_VERSION",
        "M_UNSUPPORTED_ROOM_VERSION",
        "M_UNABLE_TO_AUTHORISE_JOIN",
        "M_UNABLE_TO_GRANT_JOIN",
        "M_LIMIT_EXCEEDED",
    )
)


def refusal_of(errors: Sequence[Exception], failed: str) -> MatrixError:
    """The error for a client after all these; `failed` is how a sentence about it begins."""
    refusals = [error for error in errors if isinstance(error, RemoteRefused)]
    for refusal in refusals:
        if refusal.errcode in PASSED_ON:
            extra = {key: refusal.body[key] for key in ("room_version", "retry_after_ms") if key in refusal.body}
            message = f"{failed}: {refusal.destination} says: {refusal.error[:500] or 'no'}"
            return MatrixError(refusal.status, refusal.errcode or "M_UNKNOWN", message, **extra)
    for refusal in refusals:
        if refusal.status == 403:
            return Forbidden(f"{failed}: {refusal.destination} says: {refusal.error[:500] or 'no'}")
    for refusal in refusals:
        if refusal.status == 404:
            return NotFound(f"{failed}: {refusal.destination} does not know it.")
    said = "; ".join(str(error) for error in errors)[:1000]
    if errors and all(isinstance(error, RemoteUnreachable) for error in errors):
        return MatrixError(504, "M_UNKNOWN", f"{failed}: no server answered ({said}).")
    return MatrixError(502, "M_UNKNOWN", f"{failed}: {said}.")
