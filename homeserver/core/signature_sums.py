"""Many Ed25519 signatures by the same key, checked together for a fifth of what they cost one by one.

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
from binascii import a2b_base64
from collections.abc import Sequence
from typing import Final

import nacl.exceptions

from homeserver.core.signature_equation import ORDER, Checker, Equation
from homeserver.core.unpadded_base64 import decode_base64

FEWEST: Final = 6
"""Below this number, one by one is not slower."""

_PRIME: Final = 2**255 - 19
_POINT_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64

# What libsodium refuses in a signature: points of an order that divides eight. By their y, all that there are.
_Y_OF_ORDER_EIGHT: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL: Final = frozenset((0, 1, _PRIME - 1, _Y_OF_ORDER_EIGHT, _PRIME - _Y_OF_ORDER_EIGHT))
_Y: Final = 2**255 - 1
# All of these, and all numbers from the prime on, have one of these in the middle; of others hardly any.
_MIDDLE: Final = slice(8, 16)
_SUSPECT: Final = frozenset(y.to_bytes(_POINT_BYTES, "little")[_MIDDLE] for y in (*_SMALL, _PRIME))

_checker: Final = Checker()


def get_ready() -> None:
    """Load what `hold_together` needs, for some hundredths of a second, before somebody waits for it."""
    _checker.get_ready()


def hold_together(signed: Sequence[tuple[bytes, str]], verify_key_base64: str) -> bool:
    """Whether these messages with their signatures come out right as a sum. Never raises on odd input.

    False says nothing about which of them is wrong.
    """
    try:
        equation = _equation(signed, decode_base64(verify_key_base64))
        return equation is not None and _checker.holds(equation)
    except (ValueError, TypeError, RuntimeError, nacl.exceptions.CryptoError):
        return False


def _equation(signed: Sequence[tuple[bytes, str]], key: bytes) -> Equation | None:
    """What must hold; None where one signature cannot hold at all."""
    if not _is_in_order(int.from_bytes(key, "little") & _Y):
        return None
    dice = secrets.randbits(len(signed))
    scalars = hashes = 0
    once: list[bytes] = []
    twice: list[bytes] = []
    from_bytes, sha512 = int.from_bytes, hashlib.sha512
    for message, text in signed:
        try:
            signature = a2b_base64(text + "==", strict_mode=True)
        except ValueError:
            # The other alphabet, or another length.
            signature = decode_base64(text)
        if len(signature) != _SIGNATURE_BYTES:
            return None
        point = signature[:_POINT_BYTES]
        both = from_bytes(signature, "little")
        scalar = both >> 256
        if scalar >= ORDER or (point[_MIDDLE] in _SUSPECT and not _is_in_order(both & _Y)):
            return None
        value = from_bytes(sha512(point + key + message).digest(), "little")
        # Never a negative number of times: the same mistake made twice must not cancel itself.
        if dice & 1:
            twice.append(point)
            scalars += 2 * scalar
            hashes += 2 * value
        else:
            once.append(point)
            scalars += scalar
            hashes += value
        dice >>= 1
    return Equation(twice, once, key, hashes, scalars)


def _is_in_order(y: int) -> bool:
    """Whether a signature alone may have a point with this y: there is one form of each, and none is small."""
    return y < _PRIME and y not in _SMALL
