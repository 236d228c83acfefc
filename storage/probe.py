"""Asks whether PostgreSQL is there at all, on a connection of its own.

An error of connecting carries no SQLSTATE in psycopg2, and its text is in the server's language. libpq itself knows
more: PQping tells a server that is up and does not want us (all its connections are taken, a wrong password, no such
database) from one that starts or stops, and from one that says nothing.
"""

from __future__ import annotations

import ctypes
import enum
import time
from typing import Final

import psycopg2
from psycopg2 import _psycopg
from psycopg2.extensions import make_dsn

MARGIN_S: Final = 0.5
"""libpq counts its time-out in whole seconds."""

_PQPING_OK: Final = 0
_PQPING_REJECT: Final = 1


class Presence(enum.Enum):
    """What PostgreSQL did when it was asked for a connection."""

    ANSWERS = "lets us in"
    TURNS_AWAY = "is up, and does not want one connection more from us"
    STARTS_OR_STOPS = "starts up or shuts down"
    SILENT = "does not answer"

    @property
    def is_away(self) -> bool:
        """Whether those who have a connection wait in vain too."""
        return self in (Presence.STARTS_OR_STOPS, Presence.SILENT)


def probe(dsn: str, within_s: int) -> Presence:
    """Connect, and find out why not. Takes twice the time at most; blocks the thread."""
    began_s = time.monotonic()
    try:
        # Against a server that takes connections and says nothing, libpq's own time-out covers all of the greeting.
        psycopg2.connect(dsn, connect_timeout=within_s).close()
    except psycopg2.Error:
        # Asking for a password counts for PQping; one that stops in the middle of the greeting is as good as away.
        if time.monotonic() - began_s > within_s - MARGIN_S:
            return Presence.SILENT
        return _why_not(dsn, within_s)
    return Presence.ANSWERS


def _why_not(dsn: str, within_s: int) -> Presence:
    # The library that psycopg2 is linked to, wherever it came from: names are looked up in all that it depends on.
    ping = ctypes.CDLL(_psycopg.__file__).PQping
    ping.argtypes, ping.restype = [ctypes.c_char_p], ctypes.c_int
    said: int = ping(str(make_dsn(dsn, connect_timeout=within_s)).encode())
    if said == _PQPING_OK:
        return Presence.TURNS_AWAY
    return Presence.STARTS_OR_STOPS if said == _PQPING_REJECT else Presence.SILENT
