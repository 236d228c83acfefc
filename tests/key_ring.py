"""The keys of a client, with real signatures: what tests of end-to-end encryption upload."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from homeserver.core.signatures import SigningKey, sign_json
from tests.cast import PASSWORD, Device, Refused
from tests.wire import Json, client_path

ALGORITHM = "signed_curve25519"


@dataclass
class Keys:
    """The identity of one device, and its one-time keys."""

    device: Device
    identity: SigningKey = field(init=False)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        # The name of a SigningKey may not hold what a device id may; only its secret is used here.
        self.identity = SigningKey.generate("k")

    @property
    def key_id(self) -> str:
        """Under which the device signs."""
        return f"ed25519:{self.device.device_id}"

    def signs(self, value: Json) -> Json:
        """The value with the signature of the device."""
        return signed(value, self.device.user_id, self.key_id, self.identity)

    def device_keys(self, **changed: Json) -> Json:
        """The identity keys; `changed` members are signed like the others."""
        value = {
            "user_id": self.device.user_id,
            "device_id": self.device.device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                self.key_id: self.identity.verify_key_base64,
                f"curve25519:{self.device.device_id}": public(self.identity),
            },
        }
        return self.signs({**value, **changed})

    def one_time_key(self, *, fallback: bool = False) -> Json:
        """A new signed key."""
        return self.signs({"key": public(SigningKey.generate("k")), **({"fallback": True} if fallback else {})})

    def one_time_keys(self, count: int) -> Json:
        """New signed keys by their names."""
        return {f"{ALGORITHM}:AAAA{next(self._numbers):04}": self.one_time_key() for _ in range(count)}

    def fallback_key(self) -> Json:
        """A new fallback key by its name."""
        return {f"{ALGORITHM}:F{next(self._numbers):04}": self.one_time_key(fallback=True)}

    def uploads(self, **what: Json) -> dict[str, int]:
        """POST /keys/upload; the counts that are answered."""
        counts: dict[str, int] = self.device.asks("POST", "keys", "upload", body=what)["one_time_key_counts"]
        return counts

    def publishes(self, one_time_keys: int = 0) -> Keys:
        """Upload the identity keys, and some one-time keys."""
        self.uploads(device_keys=self.device_keys(), one_time_keys=self.one_time_keys(one_time_keys))
        return self


@dataclass
class Identity:
    """The cross-signing keys of a user."""

    user_id: str
    master: SigningKey = field(default_factory=lambda: SigningKey.generate("k"))
    self_signing: SigningKey = field(default_factory=lambda: SigningKey.generate("k"))
    user_signing: SigningKey = field(default_factory=lambda: SigningKey.generate("k"))

    def master_key(self) -> Json:
        """The master key, not signed."""
        return self._key("master", self.master)

    def keys(self) -> Json:
        """All three, as they are uploaded."""
        return {
            "master_key": self.master_key(),
            "self_signing_key": self.signed_by_master(self._key("self_signing", self.self_signing)),
            "user_signing_key": self.signed_by_master(self._key("user_signing", self.user_signing)),
        }

    def signed_by_master(self, value: Json) -> Json:
        """With a signature of the master key."""
        return signed(value, self.user_id, cross_signing_id(self.master), self.master)

    def signs_device(self, value: Json) -> Json:
        """Keys of a device with a signature of the self-signing key."""
        return signed(value, self.user_id, cross_signing_id(self.self_signing), self.self_signing)

    def signs_user(self, value: Json) -> Json:
        """The master key of somebody with a signature of the user-signing key."""
        return signed(value, self.user_id, cross_signing_id(self.user_signing), self.user_signing)

    def _key(self, usage: str, key: SigningKey) -> Json:
        return {
            "user_id": self.user_id,
            "usage": [usage],
            "keys": {cross_signing_id(key): key.verify_key_base64},
        }


def uploads_identity(device: Device, keys: Json, *, confirming: bool = False) -> None:
    """POST /keys/device_signing/upload; `confirming`: it must ask for the password first."""
    path = client_path("keys", "device_signing", "upload")
    if confirming:
        asked = device.call("POST", path, keys)
        assert asked.status == 401, asked
        auth = {
            "type": "m.login.password",
            "session": asked.json["session"],
            "identifier": {"type": "m.id.user", "user": device.user_id},
            "password": PASSWORD,
        }
        keys = {**keys, "auth": auth}
    answer = device.call("POST", path, keys)
    if answer.status != 200:
        raise Refused(f"{device} uploads cross-signing keys", answer)


def queries(device: Device, *users: Device | str) -> Json:
    """POST /keys/query for all devices of some users."""
    names = [user if isinstance(user, str) else user.user_id for user in users]
    return device.asks("POST", "keys", "query", body={"device_keys": {name: [] for name in names}})


def claims(device: Device, *others: Device, algorithm: str = ALGORITHM) -> Json:
    """POST /keys/claim, a key of each device; user → device → name → key."""
    wanted: dict[str, dict[str, str]] = {}
    for other in others:
        wanted.setdefault(other.user_id, {})[other.device_id] = algorithm
    answer = device.asks("POST", "keys", "claim", body={"one_time_keys": wanted})
    assert answer["failures"] == {}
    return answer["one_time_keys"]


def claimed_name(device: Device, other: Device) -> str | None:
    """The name of the key that a claim gave, None if it gave none."""
    found = claims(device, other).get(other.user_id, {}).get(other.device_id, {})
    assert len(found) <= 1
    return next(iter(found), None)


def signed(value: Json, user_id: str, key_id: str, key: SigningKey) -> Json:
    """The value with one signature more."""
    by_k = sign_json({k: v for k, v in value.items() if k != "signatures"}, user_id, key)
    signature = by_k["signatures"][user_id][key.key_id]  # type: ignore[index,call-overload]  # just made so
    held = value.get("signatures", {})
    return {**value, "signatures": {**held, user_id: {**held.get(user_id, {}), key_id: signature}}}


def cross_signing_id(key: SigningKey) -> str:
    """The id of a key that is named by itself."""
    return f"ed25519:{key.verify_key_base64}"


def public(key: SigningKey) -> str:
    """32 bytes in base64, to stand for a Curve25519 key: the server never looks into it."""
    return key.verify_key_base64


def changed(answer: Json) -> Sequence[str]:
    """device_lists.changed of an answer of /sync."""
    found: list[str] = answer.get("device_lists", {}).get("changed", [])
    return found


def left(answer: Json) -> Sequence[str]:
    """device_lists.left of an answer of /sync."""
    found: list[str] = answer.get("device_lists", {}).get("left", [])
    return found
