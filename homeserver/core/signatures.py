"""Ed25519 signatures on JSON objects and events, and the keys that make them.

Specification: appendices, "Signing JSON"; server-server API, "Signing Events" and "Validating hashes and signatures on
received events". Which keys a server has, and from when to when, is the key ring's to know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, cast

import nacl.bindings
import nacl.exceptions
import nacl.utils

from homeserver.core import canonical_json, hashes
from homeserver.core.canonical_json import JsonObject, NotCanonical
from homeserver.core.event import Event
from homeserver.core.ids import InvalidId, ServerName, parse_user_id, server_name_of
from homeserver.core.pruning import redact
from homeserver.core.unpadded_base64 import decode_base64, encode_base64

_ALGORITHM: Final = "ed25519"
_KEY_VERSION: Final = re.compile(r"[A-Za-z0-9_]+")
_SIGNATURE_BYTES: Final = 64


class BadSignature(ValueError):
    """The object is not validly signed by that key."""


class KeysAway(BadSignature):
    """Whether the object is validly signed cannot be told now: a key that signed it is not to be had."""


class BadKey(ValueError):
    """The text holds no signing key."""


class SigningKey:
    """A server's secret key with its id, such as `ed25519:a_1`."""

    __slots__ = ("key_id", "_seed", "_secret", "_public")

    def __init__(self, version: str, seed: bytes) -> None:
        if not _KEY_VERSION.fullmatch(version):
            raise BadKey("the name of a signing key may only hold letters, digits and underscores")
        if len(seed) != nacl.bindings.crypto_sign_SEEDBYTES:
            raise BadKey("the seed of a signing key must have 32 bytes")
        self.key_id = f"{_ALGORITHM}:{version}"
        self._seed = seed
        self._public, self._secret = nacl.bindings.crypto_sign_seed_keypair(seed)

    @classmethod
    def load(cls, line: str) -> SigningKey:
        """The key in a line of a signing key file: `ed25519 <key id> <base64 seed>`."""
        parts = line.split()
        if len(parts) != 3 or parts[0] != _ALGORITHM:
            raise BadKey("a signing key is a line of the form: ed25519 <key id> <base64 seed>")
        try:
            seed = decode_base64(parts[2])
        except ValueError:
            raise BadKey("the seed of the signing key is not base64") from None
        return cls(parts[1], seed)

    @classmethod
    def generate(cls, version: str | None = None) -> SigningKey:
        """A new random key."""
        name = version or "a_" + nacl.utils.random(3).hex()
        return cls(name, nacl.utils.random(nacl.bindings.crypto_sign_SEEDBYTES))

    def dump(self) -> str:
        """The line that `load` takes."""
        return f"{_ALGORITHM} {self.key_id.partition(':')[2]} {encode_base64(self._seed)}"

    @property
    def verify_key_base64(self) -> str:
        """The public key, as other servers get it."""
        return encode_base64(self._public)

    def sign_bytes(self, message: bytes) -> str:
        """The unpadded base64 of the signature."""
        return encode_base64(nacl.bindings.crypto_sign(message, self._secret)[:_SIGNATURE_BYTES])

    def __repr__(self) -> str:
        return f"<SigningKey {self.key_id}>"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: a server with its key."""

    server: ServerName
    key: SigningKey


def verify_bytes(message: bytes, signature_base64: str, verify_key_base64: str) -> bool:
    """Whether this is a signature by this key over these bytes. Never raises on odd input."""
    try:
        signature, public = decode_base64(signature_base64), decode_base64(verify_key_base64)
        if len(signature) != _SIGNATURE_BYTES or len(public) != nacl.bindings.crypto_sign_PUBLICKEYBYTES:
            return False
        nacl.bindings.crypto_sign_open(signature + message, public)
    except (ValueError, nacl.exceptions.BadSignatureError):
        return False
    return True


def signed_bytes(value: JsonObject) -> bytes:
    """What a signature on a JSON object covers: all but signatures and unsigned."""
    return canonical_json.encode({k: v for k, v in value.items() if k != "signatures" and k != "unsigned"})


def sign_json(value: JsonObject, server: str, key: SigningKey) -> JsonObject:
    """The object with one signature more; the object that was given stays as it is."""
    return _with_signature(value, server, key.key_id, key.sign_bytes(signed_bytes(value)))


def verify_json(value: JsonObject, server: str, key_id: str, verify_key_base64: str) -> None:
    """Raise BadSignature unless the server has signed the object with this key."""
    signature = signature_on(value, server, key_id)
    try:
        message = signed_bytes(value)
    except NotCanonical as error:
        raise BadSignature(f"what is signed has no canonical form: {error}") from None
    if not verify_bytes(message, signature, verify_key_base64):
        raise BadSignature(f"the signature of {server} with {key_id} does not match")


def event_signed_bytes(event: Event) -> bytes:
    """What signatures on an event cover: its redacted form."""
    essential = redact(event.to_pdu(), event.rules)
    essential.pop("signatures", None)
    return hashes.canonical(essential, event.rules)


def sign_event(event: Event, signer: Signer) -> Event:
    """The event with one signature more, such as on another server's invite; its id does not change."""
    signature = signer.key.sign_bytes(event_signed_bytes(event))
    pdu = _with_signature(event.to_pdu(), signer.server, signer.key.key_id, signature)
    return Event.load(hashes.canonical(pdu, event.rules), event.rules, event.event_id)


def with_signatures(event: Event, signatures: JsonObject) -> Event:
    """The event with signatures that others made of it, as in the answer to an invite; its id does not change."""
    pdu = event.to_pdu()
    ours = cast(JsonObject, pdu.get("signatures") or {})
    merged: JsonObject = dict(ours)
    for server, by_key in signatures.items():
        known = ours.get(server)
        if isinstance(by_key, dict):
            merged[server] = {**(known if isinstance(known, dict) else {}), **by_key}
    pdu["signatures"] = merged
    return Event.load(hashes.canonical(pdu, event.rules), event.rules, event.event_id)


def verify_event(event: Event, server: str, key_id: str, verify_key_base64: str) -> None:
    """Raise BadSignature unless the server has signed the event with this key."""
    signature = signature_on(event.to_pdu(), server, key_id)
    if not verify_bytes(event_signed_bytes(event), signature, verify_key_base64):
        raise BadSignature(f"the signature of {server} with {key_id} on {event.event_id} does not match")


def key_ids_of(value: JsonObject, server: str) -> list[str]:
    """The ids of the Ed25519 keys with which the server claims to have signed."""
    signatures = value.get("signatures")
    by_key = signatures.get(server) if isinstance(signatures, dict) else None
    if not isinstance(by_key, dict):
        return []
    return [key_id for key_id, value in by_key.items() if key_id.startswith("ed25519:") and isinstance(value, str)]


def signature_on(value: JsonObject, server: str, key_id: str) -> str:
    """The signature that is said to be of this server, or user, with this key. Raises BadSignature if there is none."""
    signatures = value.get("signatures")
    by_key = signatures.get(server) if isinstance(signatures, dict) else None
    signature = by_key.get(key_id) if isinstance(by_key, dict) else None
    if not key_id.startswith("ed25519:") or not isinstance(signature, str):
        raise BadSignature(f"there is no signature of {server} with {key_id}")
    return signature


def servers_that_must_sign(event: Event) -> set[ServerName]:
    """The servers without whose signature an event from outside is dropped."""
    rules, content = event.rules, event.content
    servers: set[ServerName] = set()
    # The sender of a third-party invite may be on another server than the one that sends the event.
    if not (event.membership == "invite" and "third_party_invite" in content):
        servers.add(server_name_of(event.sender))
    if rules.event_id_server_signs:
        servers.add(server_name_of(event.event_id))
    if rules.restricted_joins and event.membership == "join" and "join_authorised_via_users_server" in content:
        authoriser = content["join_authorised_via_users_server"]
        try:
            servers.add(server_name_of(parse_user_id(authoriser if isinstance(authoriser, str) else "")))
        except InvalidId:
            raise BadSignature("join_authorised_via_users_server names no user") from None
    return servers


def _with_signature(value: JsonObject, server: str, key_id: str, signature: str) -> JsonObject:
    signatures = value.get("signatures")
    others = signatures if isinstance(signatures, dict) else {}
    by_key = others.get(server)
    own: JsonObject = {**(by_key if isinstance(by_key, dict) else {}), key_id: signature}
    return {**value, "signatures": {**others, server: own}}
