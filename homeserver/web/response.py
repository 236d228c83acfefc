"""Answers other than plain JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import msgspec

JSON = "application/json"


class Response(msgspec.Struct, frozen=True):
    """A complete answer: status, headers, body. Without a Content-Type header it is JSON."""

    status: int = 200
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """An answer sent as it is made, at the pace of the reader; `length` is the number of bytes, if it is known.

    The iterator is closed (aclose) in every case, also when the reader goes away.
    """

    chunks: AsyncIterator[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    compresses: bool = False
    """Whether it is worth compressing, for clients that take it: JSON is, media is not."""


def redirect(location: str, status: int = 302) -> Response:
    """Send a browser elsewhere."""
    return Response(status, {"Location": location, "Content-Type": "text/html; charset=utf-8"}, b"")
