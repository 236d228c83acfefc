"""One-time keys and fallback keys as clients upload them, read and checked.

Specification: client-server API, "One-time and fallback keys"; "Signing JSON" in the appendices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from homeserver.core import canonical_json
from homeserver.core.canonical_json import BadJson, JsonObject, NotCanonical
from homeserver.core.device_keys import BadKeys, DeviceKeys, Signed, check_form, verify_device_keys
from homeserver.core.signature_sums import FEWEST, hold_together
from homeserver.core.signatures import BadSignature, signature_on, signed_bytes, verify_bytes

SIGNED_PREFIX: Final = "signed_"
MAX_KEY_BYTES: Final = 8_192
MAX_KEY_NAME: Final = 255


class UploadedKey(NamedTuple):
    """A key that is in order. `json` is canonical. `signed`: message and signature, where there must be one."""

    algorithm: str
    key_id: str
    json: bytes
    signed: Signed | None

    @property
    def name(self) -> str:
        """As the client named it."""
        return f"{self.algorithm}:{self.key_id}"


class _Usual(msgspec.Struct, forbid_unknown_fields=True):
    """What nearly all keys look like: nothing in it lacks a canonical form."""

    key: str
    signatures: dict[str, dict[str, str]]
    fallback: bool | msgspec.UnsetType = msgspec.UNSET


_all_usual: Final = msgspec.json.Decoder(list[_Usual])

# In the canonical form it comes last, and no string holds it: quotes in strings are escaped.
_SIGNATURES: Final = b',"signatures":'

_BEGIN: Final = b'{"key":"'
_END: Final = b'"}}}'
_KEY_AT: Final = len(_BEGIN)
_KEY_END: Final = _KEY_AT + 43
_SIGNATURE_CHARACTERS: Final = 86
"""As unpadded base64."""
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def read_one_time_keys(given: Mapping[str, msgspec.Raw], device: DeviceKeys | None) -> list[UploadedKey]:
    """One-time or fallback keys of a device, by name. Raises BadKeys, or BadSignature where a signature is missing.

    Keys of signed_… algorithms must be signed by the device. Others may be any string or object.
    """
    if not given:
        return []
    found = None if device is None else _read_alike(given, device)
    if found is not None:
        return found
    try:
        usual = _all_usual.decode(b"[%s]" % b",".join(map(bytes, given.values())))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [_read_any(name, value, device) for name, value in given.items()]
    lines = canonical_json.encode_trusted_lines(usual).split(b"\n")
    return _all_read(given, usual, lines, device)


def verify_keys(device: DeviceKeys | None, device_signed: Signed | None, keys: Sequence[UploadedKey]) -> None:
    """Raise BadSignature unless the device has signed its own keys, if asked for, and all keys that need it."""
    if device is None:
        return
    signed = [key.signed for key in keys if key.signed is not None]
    if device_signed is not None:
        signed.append(device_signed)
    if len(signed) >= FEWEST and hold_together(signed, device.ed25519):
        return
    if device_signed is not None:
        verify_device_keys(device, device_signed)
    for key in keys:
        if key.signed is not None and not verify_bytes(*key.signed, device.ed25519):
            raise BadSignature(f"{key.name}: the signature of {device.user_id} with {device.key_id} does not match")


def _read_alike(given: Mapping[str, msgspec.Raw], device: DeviceKeys) -> list[UploadedKey] | None:
    """Keys of Curve25519 in their canonical form, with the device's signature alone: nearly all that there are.

    None: one of these is not. They are of the same length, so all have the same in the same places.
    """
    signer, key_id = canonical_json.encode(device.user_id), canonical_json.encode(device.key_id)
    middle = b'"%s{%s:{%s:"' % (_SIGNATURES, signer, key_id)
    signature_at = _KEY_END + len(middle)
    signature_end = signature_at + _SIGNATURE_CHARACTERS
    jsons = list(map(bytes, given.values()))
    if (
        signature_end + len(_END) > MAX_KEY_BYTES
        or set(map(len, jsons)) != {signature_end + len(_END)}
        or {json[:_KEY_AT] for json in jsons} != {_BEGIN}
        or {json[_KEY_END:signature_at] for json in jsons} != {middle}
        or {json[signature_end:] for json in jsons} != {_END}
    ):
        return None
    signatures = [json[signature_at:signature_end] for json in jsons]
    if b"".join([*signatures, *[json[_KEY_AT:_KEY_END] for json in jsons]]).translate(None, _BASE64):
        return None
    names = [name.partition(":") for name in given]
    if (
        not all(algorithm.startswith(SIGNED_PREFIX) and id_ for algorithm, _, id_ in names)
        or max(map(len, given)) > MAX_KEY_NAME
        or "\0" in "".join(given)
    ):
        return None
    texts = b" ".join(signatures).decode().split(" ")
    return [
        UploadedKey(algorithm, id_, json, (json[: _KEY_END + 1] + b"}", signature))
        for (algorithm, _, id_), json, signature in zip(names, jsons, texts, strict=True)
    ]


def _all_read(
    names: Iterable[str], keys: Sequence[_Usual], lines: Sequence[bytes], device: DeviceKeys | None
) -> list[UploadedKey]:
    found = []
    for name, usual, json in zip(names, keys, lines, strict=True):
        algorithm, key_id = _named(name)
        if len(json) > MAX_KEY_BYTES:
            raise BadKeys(f"{name} may have at most {MAX_KEY_BYTES} bytes.")
        signed = None
        if algorithm.startswith(SIGNED_PREFIX):
            owner = _owner(name, device) if device is None else device
            by_key = usual.signatures.get(owner.user_id)
            signature = None if by_key is None else by_key.get(owner.key_id)
            if signature is None:
                raise BadSignature(f"there is no signature of {owner.user_id} with {owner.key_id}")
            signed = json[: json.index(_SIGNATURES)] + b"}", signature
        found.append(UploadedKey(algorithm, key_id, json, signed))
    return found


def _named(name: str) -> tuple[str, str]:
    algorithm, colon, key_id = name.partition(":")
    if not algorithm or not colon or not key_id or len(name) > MAX_KEY_NAME or "\0" in name:
        raise BadKeys(f"{name[:40]!r} is no name of a key: it must be algorithm:key_id.")
    return algorithm, key_id


def _read_any(name: str, given: msgspec.Raw, device: DeviceKeys | None) -> UploadedKey:
    algorithm, key_id = _named(name)
    try:
        value = canonical_json.decode(bytes(given))
        json = canonical_json.encode(value)
    except (BadJson, NotCanonical) as error:
        raise BadKeys(f"{name} has no canonical JSON form, so it cannot be signed: {error}.") from None
    if len(json) > MAX_KEY_BYTES:
        raise BadKeys(f"{name} may have at most {MAX_KEY_BYTES} bytes.")
    if isinstance(value, dict):
        if not isinstance(value.get("key"), str):
            raise BadKeys(f"{name}: key must be a string.")
        if "signatures" in value:
            check_form(value["signatures"], f"{name}: signatures")
    elif not isinstance(value, str):
        raise BadKeys(f"{name} must be an object or a string.")
    if not algorithm.startswith(SIGNED_PREFIX):
        return UploadedKey(algorithm, key_id, json, None)
    if not isinstance(value, dict):
        raise BadKeys(f"{name} must be a signed object.")
    return UploadedKey(algorithm, key_id, json, _signed(value, _owner(name, device)))


def _signed(value: JsonObject, owner: DeviceKeys) -> Signed:
    return signed_bytes(value), signature_on(value, owner.user_id, owner.key_id)


def _owner(name: str, device: DeviceKeys | None) -> DeviceKeys:
    if device is None:
        raise BadSignature(f"{name}: upload the keys of the device first: they prove the signature.")
    return device
