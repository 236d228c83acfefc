"""How every connection to PostgreSQL is opened, and what its errors mean."""

from __future__ import annotations

from typing import Final

import psycopg2
import psycopg2.errors
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import make_dsn, parse_dsn

OLDEST_POSTGRESQL: Final = 130000

_DEFAULTS: Final = {
    "application_name": "myelin",
    "connect_timeout": "5",
    # A machine that went away without a word is noticed within seconds.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "client_encoding": "UTF8",
}

_TRY_AGAIN: Final = ("40001", "40P01")
"""serialization_failure, deadlock_detected: the same transaction may go through the next time."""

_AWAY: Final = ("08", "53", "57", "58", "25006", "55P03")
"""Connection trouble, no resources (also: disk full), stopped by an operator, system error, a standby, a lock held."""


def with_defaults(dsn: str, options: str = "") -> str:
    """The data source name with our settings for whatever it leaves open."""
    given = parse_dsn(dsn)
    merged = {**_DEFAULTS, **given}
    if options:
        merged["options"] = f"{options} {given.get('options', '')}".strip()
    return str(make_dsn(**merged))


def is_lost(connection: Connection | None, error: BaseException) -> bool:
    """Whether the connection is gone, so that a new one may help."""
    if connection is None or connection.closed:
        return True
    return isinstance(error, psycopg2.Error) and _code(error).startswith(("08", "57P", "25006"))


def is_passing(error: BaseException) -> bool:
    """Whether the database was not able to, rather than not willing: the same statement may work later."""
    if not isinstance(error, psycopg2.Error):
        return False
    code = _code(error)
    if code:
        return code.startswith(_AWAY) or code in _TRY_AGAIN
    # Errors of libpq itself carry no code: it could not connect, or the connection broke.
    return isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.DatabaseError))


def may_go_through_again(error: BaseException) -> bool:
    """Whether the transaction lost against another one."""
    return isinstance(error, psycopg2.Error) and _code(error) in _TRY_AGAIN


def _code(error: psycopg2.Error) -> str:
    return error.pgcode or ""
