"""Keys of users for cross-signing, and signatures on keys. Owns the tables cross_signing_keys and key_signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from storage.statements import Statements


@dataclass(frozen=True, slots=True)
class CrossSigningKey:
    """A key of a user; `usage` is master, self_signing or user_signing."""

    user_id: str
    usage: str
    public_key: str
    json: bytes


@dataclass(frozen=True, slots=True)
class KeySignature:
    """A signature on a key of `user_id`; `key_id` is the id of a device or a public key."""

    user_id: str
    key_id: str
    signer: str
    signer_key: str
    signature: str


def put_key(tx: Statements, key: CrossSigningKey) -> None:
    """Keep a key; the one before it of the same usage goes, with the signatures on it and by it on the user's own."""
    tx.execute(
        "DELETE FROM key_signatures USING cross_signing_keys AS old WHERE old.user_id = %s AND old.usage = %s"
        " AND old.public_key <> %s AND key_signatures.user_id = old.user_id AND (key_signatures.key_id = old.public_key"
        " OR (key_signatures.signer = old.user_id AND key_signatures.signer_key = 'ed25519:' || old.public_key))",
        (key.user_id, key.usage, key.public_key),
    )
    tx.execute(
        "INSERT INTO cross_signing_keys (user_id, usage, public_key, json) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (user_id, usage) DO UPDATE SET public_key = excluded.public_key, json = excluded.json",
        (key.user_id, key.usage, key.public_key, key.json),
    )


def delete_keys(tx: Statements, user_id: str, usages: Sequence[str]) -> None:
    """Delete keys, such as those that a master key of another name has made void."""
    tx.execute("DELETE FROM cross_signing_keys WHERE user_id = %s AND usage = ANY(%s)", (user_id, list(usages)))


def delete_of_user(tx: Statements, user_id: str) -> None:
    """Delete all keys of a user, and the signatures on them."""
    tx.execute("DELETE FROM cross_signing_keys WHERE user_id = %s", (user_id,))
    tx.execute("DELETE FROM key_signatures WHERE user_id = %s", (user_id,))


def keys_of(tx: Cursor, user_ids: Sequence[str]) -> list[CrossSigningKey]:
    """All cross-signing keys of some users."""
    tx.execute(
        "SELECT user_id, usage, public_key, json FROM cross_signing_keys WHERE user_id = ANY(%s)", (list(user_ids),)
    )
    return [
        CrossSigningKey(user_id, usage, public_key, bytes(json)) for user_id, usage, public_key, json in tx.fetchall()
    ]


def has_public_key(tx: Cursor, user_id: str, name: str) -> bool:
    """Whether a user has a cross-signing key of this name: no device may be called the same."""
    tx.execute("SELECT FROM cross_signing_keys WHERE user_id = %s AND public_key = %s", (user_id, name))
    return tx.fetchone() is not None


def put_signatures(tx: Statements, signatures: Sequence[KeySignature], position: int) -> None:
    """Keep signatures, each key once, as uploaded at a position of the log."""
    tx.execute(
        "INSERT INTO key_signatures (user_id, key_id, signer, signer_key, signature, position)"
        " SELECT signed.*, %s FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[]) AS signed"
        " ON CONFLICT (user_id, key_id, signer, signer_key) DO UPDATE SET signature = excluded.signature,"
        " position = excluded.position",
        (
            position,
            [each.user_id for each in signatures],
            [each.key_id for each in signatures],
            [each.signer for each in signatures],
            [each.signer_key for each in signatures],
            [each.signature for each in signatures],
        ),
    )


def signatures_on(tx: Cursor, user_ids: Sequence[str], reader: str | None) -> list[KeySignature]:
    """The signatures on keys of some users that a reader may see: made by the key's own user, or by the reader."""
    tx.execute(
        "SELECT user_id, key_id, signer, signer_key, signature FROM key_signatures"
        " WHERE user_id = ANY(%s) AND (signer = user_id OR signer = %s)",
        (list(user_ids), reader),
    )
    return [KeySignature(*row) for row in tx.fetchall()]


def signed_others(tx: Cursor, signer: str, after: int) -> list[str]:
    """The users whose keys a user has signed after a position."""
    tx.execute(
        "SELECT DISTINCT user_id FROM key_signatures WHERE signer = %s AND signer <> user_id AND position > %s",
        (signer, after),
    )
    return [user_id for (user_id,) in tx.fetchall()]


def delete_signatures_on(tx: Statements, user_id: str, key_ids: Sequence[str]) -> None:
    """The keys are gone, or are others: what was signed holds no more."""
    tx.execute("DELETE FROM key_signatures WHERE user_id = %s AND key_id = ANY(%s)", (user_id, list(key_ids)))
