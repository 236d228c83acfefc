"""Signatures that are checked together: the sum comes out right where each is right, and else it does not."""

from __future__ import annotations

import hashlib
from random import Random

import nacl.bindings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.core.signature_sums import hold_together
from homeserver.core.signatures import SigningKey, verify_bytes
from homeserver.core.unpadded_base64 import decode_base64, encode_base64

SEED = bytes(range(32))
KEY, OTHER = SigningKey("k", SEED), SigningKey.generate("k")
ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19
OF_ORDER_EIGHT = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")

Signed = list[tuple[bytes, str]]


def signed(count: int) -> Signed:
    return [(b"message %d" % number, KEY.sign_bytes(b"message %d" % number)) for number in range(count)]


def altered(signature: str, change: int, place: int) -> str:
    data = bytearray(decode_base64(signature))
    data[place] ^= change
    return encode_base64(bytes(data))


@pytest.mark.parametrize("count", [1, 2, 6, 50, 200])
def test_right_ones_come_out_right(count: int) -> None:
    assert hold_together(signed(count), KEY.verify_key_base64)
    assert not hold_together(signed(count), OTHER.verify_key_base64)


@settings(max_examples=200)
@given(st.integers(2, 20), st.data())
def test_a_sum_says_what_each_says(count: int, data: st.DataObject) -> None:
    several = signed(count)
    for place in data.draw(st.sets(st.integers(0, count - 1), max_size=3)):
        message, signature = several[place]
        several[place] = data.draw(
            st.sampled_from(
                [
                    (message + b"!", signature),
                    (message, OTHER.sign_bytes(message)),
                    (message, KEY.sign_bytes(message + b"!")),
                    several[place - 1],
                    (message, several[place - 1][1]),
                    (message, altered(signature, data.draw(st.integers(1, 255)), data.draw(st.integers(0, 63)))),
                ]
            )
        )
    each = all(verify_bytes(*one, KEY.verify_key_base64) for one in several)
    assert hold_together(several, KEY.verify_key_base64) is each


def test_a_scalar_that_is_too_large_is_refused_as_it_is_alone() -> None:
    several = signed(8)
    message, signature = several[3]
    data = decode_base64(signature)
    scalar = int.from_bytes(data[32:], "little") + ORDER
    several[3] = message, encode_base64(data[:32] + scalar.to_bytes(32, "little"))
    assert not verify_bytes(*several[3], KEY.verify_key_base64)
    assert not hold_together(several, KEY.verify_key_base64)


def test_differences_made_to_cancel_each_other_do_so_half_of_the_times_at_most() -> None:
    def crafted(dice: Random) -> Signed:
        several = signed(6)
        by = dice.randrange(1, 2**200)
        for place, sign in ((1, 1), (4, -1)):
            message, signature = several[place]
            data = decode_base64(signature)
            scalar = (int.from_bytes(data[32:], "little") + sign * by) % ORDER
            several[place] = message, encode_base64(data[:32] + scalar.to_bytes(32, "little"))
        return several

    passed = sum(hold_together(crafted(Random(number)), KEY.verify_key_base64) for number in range(200))
    assert passed < 150


def signed_with_point(message: bytes, point: bytes, exponent: int) -> tuple[bytes, str]:
    """What only the owner of the key can make: the equation holds if the point is that many times the base."""
    public = decode_base64(KEY.verify_key_base64)
    secret = int.from_bytes(hashlib.sha512(SEED).digest()[:32], "little") & (1 << 254) - 8 | 1 << 254
    value = int.from_bytes(hashlib.sha512(point + public + message).digest(), "little")
    return message, encode_base64(point + ((exponent + value * secret) % ORDER).to_bytes(32, "little"))


def point_of(exponent: int) -> bytes:
    return nacl.bindings.crypto_scalarmult_ed25519_base_noclamp(exponent.to_bytes(32, "little"))


def test_a_point_is_taken_where_one_signature_alone_may_have_it() -> None:
    usual = signed_with_point(b"x", point_of(1234), 1234)
    assert verify_bytes(*usual, KEY.verify_key_base64)
    assert hold_together([*signed(6), usual], KEY.verify_key_base64)
    sign = 1 << 255
    small = [int.from_bytes(OF_ORDER_EIGHT, "little")]
    small += [0, 1, PRIME - 1, PRIME - small[0]]
    for y in [*small, *(y + PRIME for y in range(19)), *(y | sign for y in small), PRIME | sign, PRIME + 1 | sign]:
        odd = signed_with_point(b"x", y.to_bytes(32, "little"), 0)
        assert not verify_bytes(*odd, KEY.verify_key_base64)
        assert not hold_together([*signed(6), odd], KEY.verify_key_base64), y


def test_a_point_with_a_small_part_is_refused_as_it_is_alone() -> None:
    mixed = signed_with_point(b"x", nacl.bindings.crypto_core_ed25519_add(point_of(1234), OF_ORDER_EIGHT), 1234)
    assert not verify_bytes(*mixed, KEY.verify_key_base64)
    assert not hold_together([*signed(6), mixed], KEY.verify_key_base64)


@given(st.integers(0, 49), st.binary(max_size=200), st.sampled_from(["", "=", "=="]))
def test_fifty_are_judged_as_each_of_them_is(place: int, message: bytes, padding: str) -> None:
    several = signed(50)
    several[place] = message, KEY.sign_bytes(message).replace("+", "-").replace("/", "_") + padding
    assert all(verify_bytes(*one, KEY.verify_key_base64) for one in several)
    assert hold_together(several, KEY.verify_key_base64)
    several[place] = message + b"x", several[place][1]
    assert not verify_bytes(*several[place], KEY.verify_key_base64)
    assert not hold_together(several, KEY.verify_key_base64)


@given(st.lists(st.tuples(st.binary(max_size=40), st.text(max_size=90)), max_size=10), st.text(max_size=50))
def test_nonsense_never_holds(several: Signed, key: str) -> None:
    assert not hold_together(several, key)
    assert not hold_together([*signed(5), *several, (b"", "")], KEY.verify_key_base64)
