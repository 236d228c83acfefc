"""The keys of this server, as it publishes them.

Specification: server-server API, "Publishing Keys" and GET /_matrix/key/v2/server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.server_keys import VerifyKey
from homeserver.core.signatures import Signer, sign_json
from homeserver.runtime.clock import Clock

VALID_FOR_MS: Final = 24 * 3_600_000
"""How long others may rely on a response. What they hold when the key is stolen counts for so long."""
NEVER_MS: Final = 2**53 - 1


class OwnKeys:
    """The key in use and those that were used before, with the time at which each was given up."""

    def __init__(self, signer: Signer, old_keys: Mapping[str, tuple[str, int]], clock: Clock) -> None:
        self._signer = signer
        self._old_keys = {key_id: old for key_id, old in old_keys.items() if key_id != signer.key.key_id}
        self._clock = clock
        self._published: JsonObject = {}
        self._renew_ms = 0

    @property
    def server(self) -> str:
        """Whose keys these are."""
        return self._signer.server

    def published(self) -> JsonObject:
        """The signed response; made anew when half of its time is over."""
        now_ms = self._clock.now_ms()
        if now_ms >= self._renew_ms:
            old: dict[str, JsonValue] = {
                key_id: {"key": key, "expired_ts": expired_ts} for key_id, (key, expired_ts) in self._old_keys.items()
            }
            response: JsonObject = {
                "server_name": self._signer.server,
                "verify_keys": {self._signer.key.key_id: {"key": self._signer.key.verify_key_base64}},
                "old_verify_keys": old,
                "valid_until_ts": now_ms + VALID_FOR_MS,
            }
            self._published = sign_json(response, self._signer.server, self._signer.key)
            self._renew_ms = now_ms + VALID_FOR_MS // 2
        return self._published

    def verify_keys(self) -> dict[str, VerifyKey]:
        """The same keys for checking our own signatures."""
        keys = {
            key_id: VerifyKey(key_id, key, expired_ts, expired_ts)
            for key_id, (key, expired_ts) in self._old_keys.items()
        }
        own = self._signer.key
        keys[own.key_id] = VerifyKey(own.key_id, own.verify_key_base64, NEVER_MS)
        return keys

    def sign(self, value: JsonObject) -> JsonObject:
        """A response of another server with our signature, as a notary gives it."""
        return sign_json(value, self._signer.server, self._signer.key)
