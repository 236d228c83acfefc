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

import ctypes
import hashlib
import secrets
from binascii import a2b_base64
from collections.abc import Sequence
from typing import Final

import nacl._sodium
import nacl.bindings
import nacl.exceptions

from homeserver.core.unpadded_base64 import decode_base64

FEWEST: Final = 6
"""Below this number, one by one is not slower."""

_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_PRIME: Final = 2**255 - 19
_POINT_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_USUAL_TEXT: Final = 86
"""The characters of a signature without padding."""

# The public function of libsodium, without the lock of the interpreter being let go of and fought for at each addition:
# with other threads at work that takes as long as the additions, of which each takes 15 µs.
_add: Final = ctypes.PyDLL(nacl._sodium.__file__).crypto_core_ed25519_add
_add.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)

# What libsodium refuses in a signature: points of an order that divides eight. By their y, all that there are.
_Y_OF_ORDER_EIGHT: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL: Final = frozenset((0, 1, _PRIME - 1, _Y_OF_ORDER_EIGHT, _PRIME - _Y_OF_ORDER_EIGHT))
_SIGN: Final = 1 << 255


def hold_together(signed: Sequence[tuple[bytes, str]], verify_key_base64: str) -> bool:
    """Whether these messages with their signatures come out right as a sum. Never raises on odd input.

    False says nothing about which of them is wrong.
    """
    try:
        return _sum_is_right(signed, verify_key_base64)
    except (ValueError, TypeError, RuntimeError, nacl.exceptions.CryptoError):
        return False


def _sum_is_right(signed: Sequence[tuple[bytes, str]], verify_key_base64: str) -> bool:
    public = decode_base64(verify_key_base64)
    dice = secrets.randbits(len(signed))
    scalars = hashes = 0
    once: list[bytes] = []
    twice: list[bytes] = []
    for message, text in signed:
        signature = _decoded(text)
        if len(signature) != _SIGNATURE_BYTES:
            return False
        point = signature[:_POINT_BYTES]
        both = int.from_bytes(signature, "little")
        scalar = both >> 256
        if scalar >= _ORDER or not _is_in_order(both & _SIGN - 1):
            return False
        value = int.from_bytes(hashlib.sha512(point + public + message).digest(), "little")
        # Never a negative number of times: the same mistake made twice must not cancel itself.
        if dice & 1:
            twice.append(point)
            scalar *= 2
            value *= 2
        else:
            once.append(point)
        dice >>= 1
        scalars += scalar
        hashes += value
    if twice:
        double = _added(twice)
        once += (double, double)
    left = nacl.bindings.crypto_scalarmult_ed25519_base_noclamp(_scalar(scalars))
    once.append(nacl.bindings.crypto_scalarmult_ed25519_noclamp(_scalar(hashes), public))
    return left == _added(once)


def _is_in_order(y: int) -> bool:
    """Whether a signature alone may have a point with this y: there is one form of each, and none is small."""
    return y < _PRIME and y not in _SMALL


def _added(points: Sequence[bytes]) -> bytes:
    sum_ = ctypes.create_string_buffer(points[0], _POINT_BYTES)
    address = ctypes.addressof(sum_)
    for point in points[1:]:
        if _add(address, address, point):
            raise ValueError("this is no point of the curve")
    return sum_.raw


def _scalar(value: int) -> bytes:
    return (value % _ORDER).to_bytes(32, "little")


def _decoded(text: str) -> bytes:
    if len(text) == _USUAL_TEXT:
        try:
            return a2b_base64(text + "==", strict_mode=True)
        except ValueError:
            pass  # the other alphabet, perhaps
    return decode_base64(text)
