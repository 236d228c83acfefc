"""Access tokens and refresh tokens, as hashes. Owns the tables access_tokens and refresh_tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """Who has an access token."""

    user_id: str
    device: int
    device_id: str
    is_admin: bool
    is_guest: bool
    is_deactivated: bool
    appservice_id: str | None
    expires_ts: int | None


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token. `replaced_by` is set once it was used; `access_token` is the hash of its companion."""

    token_hash: bytes
    user_id: str
    device: int
    device_id: str
    replaced_by: bytes | None
    access_token: bytes | None


def owner(tx: Cursor, token_hash: bytes) -> TokenOwner | None:
    """Who has this access token, expired or not; None if nobody has."""
    tx.execute(
        "SELECT u.user_id, d.device, d.device_id, u.is_admin, u.is_guest, u.is_deactivated, u.appservice_id,"
        " t.expires_ts FROM access_tokens t JOIN devices d USING (device) JOIN users u ON u.user_id = t.user_id"
        " WHERE t.token_hash = %s",
        (token_hash,),
    )
    row = tx.fetchone()
    return None if row is None else TokenOwner(*row)


def insert(tx: Cursor, token_hash: bytes, user_id: str, device: int, created_ts: int, expires_ts: int | None) -> None:
    """Give a device an access token."""
    tx.execute(
        "INSERT INTO access_tokens (token_hash, user_id, device, created_ts, expires_ts) VALUES (%s, %s, %s, %s, %s)",
        (token_hash, user_id, device, created_ts, expires_ts),
    )


def delete(tx: Cursor, token_hash: bytes) -> bool:
    """Take an access token back; False if there was none."""
    tx.execute("DELETE FROM access_tokens WHERE token_hash = %s", (token_hash,))
    return tx.rowcount == 1


def of_devices(tx: Cursor, devices: Sequence[int]) -> list[bytes]:
    """Hashes of the access tokens of some devices."""
    tx.execute("SELECT token_hash FROM access_tokens WHERE device = ANY(%s)", (list(devices),))
    return [bytes(token_hash) for (token_hash,) in tx.fetchall()]


def of_user(tx: Cursor, user_id: str) -> list[bytes]:
    """Hashes of all access tokens of a user."""
    tx.execute("SELECT token_hash FROM access_tokens WHERE user_id = %s", (user_id,))
    return [bytes(token_hash) for (token_hash,) in tx.fetchall()]


def delete_of_device(tx: Cursor, device: int) -> list[bytes]:
    """Take all tokens of a device back, refresh tokens too; answers with the hashes of its access tokens."""
    tx.execute("DELETE FROM refresh_tokens WHERE device = %s", (device,))
    tx.execute("DELETE FROM access_tokens WHERE device = %s RETURNING token_hash", (device,))
    return [bytes(token_hash) for (token_hash,) in tx.fetchall()]


def insert_refresh(tx: Cursor, token_hash: bytes, device: int, created_ts: int, access_token: bytes) -> None:
    """Give a device a refresh token along with the access token of this hash."""
    tx.execute(
        "INSERT INTO refresh_tokens (token_hash, device, created_ts, access_token) VALUES (%s, %s, %s, %s)",
        (token_hash, device, created_ts, access_token),
    )


def refresh(tx: Cursor, token_hash: bytes) -> RefreshToken | None:
    """A refresh token, kept from others until the transaction ends; None if there is none."""
    tx.execute(
        "SELECT r.token_hash, d.user_id, d.device, d.device_id, r.replaced_by, r.access_token"
        " FROM refresh_tokens r JOIN devices d USING (device) WHERE r.token_hash = %s FOR UPDATE OF r",
        (token_hash,),
    )
    row = tx.fetchone()
    if row is None:
        return None
    token, user_id, device, device_id, replaced_by, access_token = row
    return RefreshToken(
        bytes(token),
        user_id,
        device,
        device_id,
        None if replaced_by is None else bytes(replaced_by),
        None if access_token is None else bytes(access_token),
    )


def replace_refresh(tx: Cursor, token_hash: bytes, replaced_by: bytes) -> None:
    """Note which refresh token was given out for this one."""
    tx.execute("UPDATE refresh_tokens SET replaced_by = %s WHERE token_hash = %s", (replaced_by, token_hash))


def delete_replaced_by(tx: Cursor, device: int, token_hash: bytes) -> list[bytes]:
    """The one who holds this refresh token has used it: what it replaced is of no use any more.

    Deletes those refresh tokens and their access tokens; answers with the hashes of the latter.
    """
    tx.execute(
        "DELETE FROM refresh_tokens WHERE device = %s AND replaced_by = %s RETURNING access_token",
        (device, token_hash),
    )
    return _delete_companions(tx)


def delete_before(tx: Cursor, device: int, access_token: bytes) -> list[bytes]:
    """The one who holds this access token has used it: the refresh token shown to get it is of no use any more.

    Deletes that refresh token and its access token; answers with the hash of the latter.
    """
    tx.execute(
        "DELETE FROM refresh_tokens WHERE device = %s AND replaced_by IN"
        " (SELECT token_hash FROM refresh_tokens WHERE device = %s AND access_token = %s) RETURNING access_token",
        (device, device, access_token),
    )
    return _delete_companions(tx)


def delete_unused(tx: Cursor, device: int, token_hash: bytes) -> list[bytes]:
    """Take a refresh token back that was never used, with its access token; answers with the hash of the latter."""
    tx.execute(
        "DELETE FROM refresh_tokens WHERE device = %s AND token_hash = %s RETURNING access_token", (device, token_hash)
    )
    return _delete_companions(tx)


def _delete_companions(tx: Cursor) -> list[bytes]:
    """Delete the access tokens that the statement before answered with."""
    companions = [bytes(access_token) for (access_token,) in tx.fetchall() if access_token is not None]
    if companions:
        tx.execute("DELETE FROM access_tokens WHERE token_hash = ANY(%s::bytea[])", (companions,))
    return companions
