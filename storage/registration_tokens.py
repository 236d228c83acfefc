"""Tokens that let people make an account. Owns the table registration_tokens."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor


@dataclass(frozen=True, slots=True)
class RegistrationToken:
    """A token. None: used without limit, valid without end."""

    token: str
    uses_allowed: int | None
    completed: int
    expires_ts: int | None


def insert(tx: Cursor, token: str, uses_allowed: int | None, expires_ts: int | None) -> bool:
    """Make a token; False if there is one of this name."""
    tx.execute(
        "INSERT INTO registration_tokens (token, uses_allowed, expires_ts) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (token, uses_allowed, expires_ts),
    )
    return tx.rowcount == 1


def one(tx: Cursor, token: str) -> RegistrationToken | None:
    """A token; None if there is none."""
    tx.execute("SELECT token, uses_allowed, completed, expires_ts FROM registration_tokens WHERE token = %s", (token,))
    row = tx.fetchone()
    return None if row is None else RegistrationToken(*row)


def every(tx: Cursor) -> list[RegistrationToken]:
    """All tokens."""
    tx.execute("SELECT token, uses_allowed, completed, expires_ts FROM registration_tokens ORDER BY token")
    return [RegistrationToken(*row) for row in tx.fetchall()]


def is_valid(tx: Cursor, token: str, now_ts: int) -> bool:
    """Whether the token lets somebody in now."""
    found = one(tx, token)
    return (
        found is not None
        and (found.uses_allowed is None or found.completed < found.uses_allowed)
        and (found.expires_ts is None or found.expires_ts > now_ts)
    )


def use(tx: Cursor, token: str, now_ts: int) -> bool:
    """Let one person in; False if the token does not do that any more. In the transaction that makes the account."""
    tx.execute(
        "UPDATE registration_tokens SET completed = completed + 1 WHERE token = %s"
        " AND (uses_allowed IS NULL OR completed < uses_allowed) AND (expires_ts IS NULL OR expires_ts > %s)",
        (token, now_ts),
    )
    return tx.rowcount == 1


def change(tx: Cursor, token: str, uses_allowed: int | None, expires_ts: int | None) -> bool:
    """Set the limits of a token; False if there is no such token."""
    tx.execute(
        "UPDATE registration_tokens SET uses_allowed = %s, expires_ts = %s WHERE token = %s",
        (uses_allowed, expires_ts, token),
    )
    return tx.rowcount == 1


def delete(tx: Cursor, token: str) -> bool:
    """Take a token back; False if there was none."""
    tx.execute("DELETE FROM registration_tokens WHERE token = %s", (token,))
    return tx.rowcount == 1
