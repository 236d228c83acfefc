"""The texts by which clients say where they are: sync tokens and pagination tokens.

To clients they are opaque. A sync token `s123` is one position in the log. A pagination token `t5_123` is a place
between events in the order of a room's history: depth, then position; both go below zero. Each place has exactly one
text. Specification: Client-Server API, `GET /sync` (next_batch), `GET /rooms/{roomId}/messages` (from, to).
"""

import re
from dataclasses import dataclass

import msgspec

_NUMBER = r"0|-?[1-9][0-9]{0,18}"
_SYNC = re.compile(r"s(0|[1-9][0-9]{0,18})")
_PAGE = re.compile(rf"t({_NUMBER})_({_NUMBER})")
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


class BadToken(ValueError):
    """This is not a token that we gave out. Its text is for the client; the error code is M_INVALID_PARAM."""

    errcode = "M_INVALID_PARAM"


class SyncToken(msgspec.Struct, frozen=True, order=True):
    """A position in the log: all up to and including it has been seen."""

    position: int

    def __str__(self) -> str:
        return f"s{self.position}"


@dataclass(frozen=True, slots=True, order=True)
class PageToken:
    """A place in a room's history: just after the event of this depth and position."""

    depth: int
    position: int

    def __str__(self) -> str:
        return f"t{self.depth}_{self.position}"


def parse_sync_token(text: str) -> SyncToken:
    """The sync token with this text, or BadToken."""
    match = _SYNC.fullmatch(text)
    if match is None or int(match[1]) > _LARGEST:
        raise BadToken(f"{text[:40]!r} is not a sync token; leave it out to start afresh.")
    return SyncToken(int(match[1]))


def parse_token(text: str) -> SyncToken | PageToken:
    """A token of either kind, as where history is paged through from the place of a sync; or BadToken."""
    if text.startswith("s"):
        return parse_sync_token(text)
    match = _PAGE.fullmatch(text)
    if match is None:
        raise BadToken(f"{text[:40]!r} is not a pagination token that this server gave out.")
    depth, position = int(match[1]), int(match[2])
    if not (_SMALLEST <= depth <= _LARGEST and _SMALLEST <= position <= _LARGEST):
        raise BadToken(f"{text[:40]!r} is not a pagination token that this server gave out.")
    return PageToken(depth, position)
