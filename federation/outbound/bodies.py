"""What may be wrong with the body of an answer, though it came."""

from __future__ import annotations


class BodyTooLong(Exception):
    """A body is longer than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the answer is longer than {limit_bytes} bytes")


class NotTaken(Exception):
    """The one to whom a body was handed on has failed; the cause is what it raised."""
