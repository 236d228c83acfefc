"""Profile fields of local users: displayname, avatar_url, and whatever else they tell. Owns the table profile_fields.

Values are JSON texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor


def of_user(tx: Cursor, user_id: str) -> dict[str, str]:
    """All fields of a user."""
    tx.execute("SELECT field, value FROM profile_fields WHERE user_id = %s", (user_id,))
    return dict(tx.fetchall())


def of_users(tx: Cursor, user_ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, str]]:
    """Some fields of several users."""
    tx.execute(
        "SELECT user_id, field, value FROM profile_fields WHERE user_id = ANY(%s) AND field = ANY(%s)",
        (list(user_ids), list(fields)),
    )
    found: dict[str, dict[str, str]] = {user_id: {} for user_id in user_ids}
    for user_id, field, value in tx.fetchall():
        found[user_id][field] = value
    return found


def put(tx: Cursor, user_id: str, field: str, value: str) -> bool:
    """Set a field; False if it had this value before."""
    tx.execute(
        "INSERT INTO profile_fields (user_id, field, value) VALUES (%s, %s, %s)"
        " ON CONFLICT (user_id, field) DO UPDATE SET value = excluded.value"
        " WHERE profile_fields.value <> excluded.value",
        (user_id, field, value),
    )
    return tx.rowcount == 1


def delete(tx: Cursor, user_id: str, field: str) -> bool:
    """Remove a field; False if it was not set."""
    tx.execute("DELETE FROM profile_fields WHERE user_id = %s AND field = %s", (user_id, field))
    return tx.rowcount == 1


def delete_of_user(tx: Cursor, user_id: str) -> None:
    """Remove all fields of a user."""
    tx.execute("DELETE FROM profile_fields WHERE user_id = %s", (user_id,))


def search(tx: Cursor, term: str, limit: int) -> list[str]:
    """User ids of open accounts whose name, on the outside or in the profile, has the term in it, in any case."""
    tx.execute(
        "SELECT u.user_id FROM users u LEFT JOIN profile_fields p ON p.user_id = u.user_id AND p.field = 'displayname'"
        " WHERE NOT u.is_deactivated"
        " AND (strpos(lower(u.user_id), lower(%s)) > 0 OR strpos(lower(p.value::json #>> '{}'), lower(%s)) > 0)"
        " ORDER BY u.user_id LIMIT %s",
        (term, term, limit),
    )
    return [user_id for (user_id,) in tx.fetchall()]
