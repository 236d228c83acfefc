"""Signatures that are checked together: the sum comes out right where each is right, and else it does not."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.core.signature_sums import hold_together
from homeserver.core.signatures import SigningKey, verify_bytes
from homeserver.core.unpadded_base64 import decode_base64, encode_base64

KEY, OTHER = SigningKey.generate("k"), SigningKey.generate("k")
ORDER = 2**252 + 27742317777372353535851937790883648493

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


@given(st.lists(st.tuples(st.binary(max_size=40), st.text(max_size=90)), max_size=10), st.text(max_size=50))
def test_nonsense_never_holds(several: Signed, key: str) -> None:
    assert not hold_together(several, key)
    assert not hold_together([*signed(5), *several, (b"", "")], KEY.verify_key_base64)
