"""Accounts of this server. Owns the table users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg2.extensions import cursor as Cursor

_COLUMNS: Final = "user_id, password_hash, created_ts, is_admin, is_guest, is_deactivated, is_erased, appservice_id"


@dataclass(frozen=True, slots=True)
class Account:
    """An account. Without a password hash nobody can log in by password."""

    user_id: str
    password_hash: str | None
    created_ts: int
    is_admin: bool = False
    is_guest: bool = False
    is_deactivated: bool = False
    is_erased: bool = False
    appservice_id: str | None = None


def insert(tx: Cursor, account: Account) -> bool:
    """Make an account; False if the name is taken."""
    tx.execute(
        f"INSERT INTO users ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (
            account.user_id,
            account.password_hash,
            account.created_ts,
            account.is_admin,
            account.is_guest,
            account.is_deactivated,
            account.is_erased,
            account.appservice_id,
        ),
    )
    return tx.rowcount == 1


def one(tx: Cursor, user_id: str) -> Account | None:
    """An account; None if there is none."""
    tx.execute(f"SELECT {_COLUMNS} FROM users WHERE user_id = %s", (user_id,))
    row = tx.fetchone()
    return None if row is None else Account(*row)


def hold_open(tx: Cursor, user_id: str, password_hash: str | None) -> bool:
    """Whether the account is open and has this password hash still; keeps it so until the transaction ends."""
    tx.execute(
        "SELECT FROM users WHERE user_id = %s AND NOT is_deactivated"
        " AND password_hash IS NOT DISTINCT FROM %s FOR SHARE",
        (user_id, password_hash),
    )
    return tx.fetchone() is not None


def lock(tx: Cursor, user_id: str) -> None:
    """Make other changes to what belongs to the account wait until the transaction ends."""
    tx.execute("SELECT FROM users WHERE user_id = %s FOR NO KEY UPDATE", (user_id,))


def existing(tx: Cursor, user_ids: Sequence[str]) -> set[str]:
    """Those of the users who have an account."""
    tx.execute("SELECT user_id FROM users WHERE user_id = ANY(%s)", (list(user_ids),))
    return {user_id for (user_id,) in tx.fetchall()}


def guests_among(tx: Cursor, user_ids: Sequence[str]) -> list[str]:
    """Those of the users who are guests."""
    tx.execute("SELECT user_id FROM users WHERE user_id = ANY(%s) AND is_guest ORDER BY user_id", (list(user_ids),))
    return [user_id for (user_id,) in tx.fetchall()]


def set_password(tx: Cursor, user_id: str, password_hash: str | None) -> bool:
    """Change the password; False if there is no such account."""
    tx.execute("UPDATE users SET password_hash = %s WHERE user_id = %s", (password_hash, user_id))
    return tx.rowcount == 1


def replace_password(tx: Cursor, user_id: str, old_hash: str, new_hash: str) -> bool:
    """Keep another hash of the same password; False if the password was changed meanwhile."""
    tx.execute(
        "UPDATE users SET password_hash = %s WHERE user_id = %s AND password_hash = %s", (new_hash, user_id, old_hash)
    )
    return tx.rowcount == 1


def set_admin(tx: Cursor, user_id: str, is_admin: bool) -> bool:
    """Make an account an admin's, or not; False if there is no such account."""
    tx.execute("UPDATE users SET is_admin = %s WHERE user_id = %s", (is_admin, user_id))
    return tx.rowcount == 1


def deactivate(tx: Cursor, user_id: str, *, erase: bool) -> bool:
    """Close an account for good: nobody can log in. False if there is none."""
    tx.execute(
        "UPDATE users SET is_deactivated = true, is_erased = is_erased OR %s, password_hash = NULL WHERE user_id = %s",
        (erase, user_id),
    )
    return tx.rowcount == 1


def reactivate(tx: Cursor, user_id: str, password_hash: str | None) -> bool:
    """Open a closed account again; False if there is no such account."""
    tx.execute(
        "UPDATE users SET is_deactivated = false, is_erased = false, password_hash = %s WHERE user_id = %s",
        (password_hash, user_id),
    )
    return tx.rowcount == 1


def page(tx: Cursor, *, after: str, limit: int, search: str = "", deactivated: bool = True) -> list[Account]:
    """Accounts in the order of their user ids. `search`: a part of the user id."""
    tx.execute(
        f"SELECT {_COLUMNS} FROM users WHERE user_id > %s AND strpos(user_id, %s) > 0 AND (%s OR NOT is_deactivated)"
        " ORDER BY user_id LIMIT %s",
        (after, search.lower(), deactivated, limit),
    )
    return [Account(*row) for row in tx.fetchall()]


def count(tx: Cursor) -> int:
    """Accounts that are not closed."""
    tx.execute("SELECT count(*) FROM users WHERE NOT is_deactivated")
    row = tx.fetchone()
    return 0 if row is None else int(row[0])
