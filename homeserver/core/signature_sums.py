"""Many Ed25519 signatures by the same key, checked together for a third of what they cost one by one.

A signature (R, s) on a message M by the key A holds where s·B = R + h·A, with h = SHA-512(R, A, M) (RFC 8032, 5.1.7).
Where that is so for each of them, it is so for every sum of them. A sum takes one addition for each signature, and
one multiplication of each kind for all of them.

Of a sum that comes out right nothing wrong is in it by mistake: a key, a message or a signature that is another than it
should be leaves a difference, which another one would have to take back. Only who has the secret key can make such
differences on purpose. Dice decide which ones count twice, which makes that hard, but not impossible: so this is for
what somebody signs for their own use, such as one-time keys, where nobody else has a disadvantage.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from functools import reduce
from typing import Final

import nacl.bindings
import nacl.exceptions

from homeserver.core.unpadded_base64 import decode_base64

FEWEST: Final = 6
"""Below this number, one by one is not slower."""

_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_POINT_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64


def hold_together(signed: Sequence[tuple[bytes, str]], verify_key_base64: str) -> bool:
    """Whether these messages with their signatures come out right as a sum. Never raises on odd input.

    False says nothing about which of them is wrong.
    """
    try:
        return _sum_is_right([(message, decode_base64(signature)) for message, signature in signed], verify_key_base64)
    except (ValueError, TypeError, RuntimeError, nacl.exceptions.CryptoError):
        return False


def _sum_is_right(signed: Sequence[tuple[bytes, bytes]], verify_key_base64: str) -> bool:
    public = decode_base64(verify_key_base64)
    dice = secrets.randbits(len(signed))
    scalars = hashes = 0
    once: list[bytes] = []
    twice: list[bytes] = []
    for number, (message, signature) in enumerate(signed):
        point = signature[:_POINT_BYTES]
        scalar = int.from_bytes(signature[_POINT_BYTES:], "little")
        if len(signature) != _SIGNATURE_BYTES or scalar >= _ORDER:
            return False
        value = int.from_bytes(hashlib.sha512(point + public + message).digest(), "little")
        # Never a negative number of times: the same mistake made twice must not cancel itself.
        times = 1 + (dice >> number & 1)
        (once if times == 1 else twice).append(point)
        scalars += times * scalar
        hashes += times * value
    if twice:
        double = _added(twice)
        once += [double, double]
    left = nacl.bindings.crypto_scalarmult_ed25519_base_noclamp(_scalar(scalars))
    once.append(nacl.bindings.crypto_scalarmult_ed25519_noclamp(_scalar(hashes), public))
    return left == _added(once)


def _added(points: Sequence[bytes]) -> bytes:
    return reduce(nacl.bindings.crypto_core_ed25519_add, points)


def _scalar(value: int) -> bytes:
    return (value % _ORDER).to_bytes(32, "little")
