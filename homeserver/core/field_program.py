"""The field of curve25519 in WebAssembly text: numbers modulo 2^255 - 19, as five limbs of 51 bits each.

Elements are named by where they are in memory, 40 bytes each. Of the functions `$o` is where the result goes, which may
be where an operand is. What is multiplied may have limbs of 54 bits, and what is added or taken away limbs of 53, which
is what `sub` leaves at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

PRIME: Final = 2**255 - 19
LIMBS: Final = 5
ELEMENT_BYTES: Final = 8 * LIMBS

_LIMB_BITS: Final = 51
_MASK: Final = 2**_LIMB_BITS - 1


def functions() -> list[str]:
    """mul, square, squares (several in turn), add, sub; pack and unpack: to and from 32 bytes."""
    return [
        f"(func $mul (param $o i32) (param $a i32) (param $b i32) {_product(_PRODUCT, 'ab')})",
        f"(func $square (param $o i32) (param $a i32) {_product(_SQUARE, 'a')})",
        f"(func $squares (param $o i32) (param $a i32) (param $times i32) {_squares()})",
        f"(func $add (param $o i32) (param $a i32) (param $b i32) {_each_limb(_ADD)})",
        f"(func $sub (param $o i32) (param $a i32) (param $b i32) {_each_limb(_SUB)})",
        f"(func $pack (param $o i32) (param $a i32) {_packing()})",
        f"(func $unpack (param $o i32) (param $a i32) {_unpacking()})",
    ]


def element(value: int) -> bytes:
    """A number as it lies in memory."""
    return b"".join(_limb(value, at).to_bytes(8, "little") for at in range(LIMBS))


def _limb(value: int, at: int) -> int:
    return value >> _LIMB_BITS * at & _MASK


def _load(element: str, at: int) -> str:
    return f"(i64.load offset={8 * at} (local.get ${element}))"


def _store(at: int, value: str) -> str:
    return f"(i64.store offset={8 * at} (local.get $o) {value})"


# What a limb of a product is a sum of. 2^255 = 19: what is beyond comes back nineteen times. d: doubled, n: 19 times.
# One factor is shifted by nine bits (u), the other one by four (v): then the upper 64 bits of the sum are what is to be
# carried, and the lower ones are the limb, shifted by 13. Shifting sums would take longer.
Terms = Sequence[Sequence[tuple[str, str]]]
_PRODUCT: Final[Terms] = [
    [(f"u{at}", f"v{limb - at}" if at <= limb else f"n{limb - at + LIMBS}") for at in range(LIMBS)]
    for limb in range(LIMBS)
]
_SQUARE: Final[Terms] = [
    [("u0", "v0"), ("d1", "n4"), ("d2", "n3")],
    [("d0", "v1"), ("d2", "n4"), ("u3", "n3")],
    [("d0", "v2"), ("u1", "v1"), ("d3", "n4")],
    [("d0", "v3"), ("d1", "v2"), ("u4", "n4")],
    [("d0", "v4"), ("d1", "v3"), ("u2", "v2")],
]


def _product(terms: Terms, factors: str) -> str:
    """Limbs of two factors may have 108 bits together; those of the product have 51, or hardly more."""
    return "\n".join((_variables(factors), *map(_loaded, factors), _multiplied(terms, factors[-1]), _STORED))


def _squares() -> str:
    """The limbs stay in registers until all is done."""
    again = " ".join(f"(local.set $a{at} (local.get $r{at}))" for at in range(LIMBS))
    return f"""
        {_variables("a")} {_loaded("a")}
        (loop $again
          {_multiplied(_SQUARE, "a")} {again}
          (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
        {_STORED}
    """


def _variables(factors: str) -> str:
    names = [f"{letter}{at}" for letter in (*factors, *"udvnrc") for at in range(LIMBS)]
    return " ".join(f"(local ${name} i64)" for name in (*names, "low"))


def _loaded(factor: str) -> str:
    return " ".join(f"(local.set ${factor}{at} {_load(factor, at)})" for at in range(LIMBS))


_STORED: Final = " ".join(_store(at, f"(local.get $r{at})") for at in range(LIMBS))


def _multiplied(terms: Terms, last_factor: str) -> str:
    shifted = {
        "u": "(i64.shl (local.get $a{}) (i64.const 9))",
        "d": "(i64.shl (local.get $a{}) (i64.const 10))",
        "v": f"(i64.shl (local.get ${last_factor}{{}}) (i64.const 4))",
        "n": f"(i64.mul (local.get ${last_factor}{{}}) (i64.const {19 << 4}))",
    }
    used = {name for limb in terms for term in limb for name in term}
    code = [f"(local.set ${name} {shifted[name[0]].format(name[1])})" for name in sorted(used)]
    for at, limb in enumerate(terms):
        products = [f"(i64.mul_wide_u (local.get ${one}) (local.get ${other}))" for one, other in limb]
        code += [products[0], *(f"{each} i64.add128" for each in products[1:])]
        code.append(
            f"(local.set $c{at}) (local.set $low)"
            f"(local.set $r{at} (i64.shr_u (local.get $low) (i64.const {64 - _LIMB_BITS})))"
        )
    # All hand over at once, twice: in turn, each would wait for the one before.
    code += [f"(local.set $r{at} {_with_carry(at)})" for at in range(LIMBS)]
    code += [f"(local.set $c{at} (i64.shr_u (local.get $r{at}) (i64.const {_LIMB_BITS})))" for at in range(LIMBS)]
    code += [f"(local.set $r{at} (i64.and (local.get $r{at}) (i64.const {_MASK})))" for at in range(LIMBS)]
    code += [f"(local.set $r{at} {_with_carry(at)})" for at in range(LIMBS)]
    return "\n".join(code)


def _with_carry(at: int) -> str:
    """A limb with what the one before hands over."""
    carry = f"(local.get $c{at - 1})" if at else f"(i64.mul (local.get $c{LIMBS - 1}) (i64.const 19))"
    return f"(i64.add (local.get $r{at}) {carry})"


_ADD: Final = "(i64.add {a} {b})"
# Four times the prime more, so that no limb becomes negative.
_SUB: Final = "(i64.sub (i64.add {a} (i64.const {more})) {b})"


def _each_limb(pattern: str) -> str:
    """What is added may have 53 bits."""
    return " ".join(
        _store(at, pattern.format(a=_load("a", at), b=_load("b", at), more=4 * _limb(PRIME, at))) for at in range(LIMBS)
    )


def _packing() -> str:
    """The 32 bytes of an element: the smallest number of those that stand for it."""
    code = [f"(local $r{at} i64)" for at in range(LIMBS)] + ["(local $more i64)"]
    code += [f"(local.set $r{at} {_load('a', at)})" for at in range(LIMBS)]
    carries = [_carry(at) for at in range(LIMBS)]
    # Below twice the prime; then, where 19 more reach 2^255, it is the prime or above.
    code += carries * 2
    code.append("(local.set $more (i64.const 19))")
    for at in range(LIMBS):
        code.append(f"(local.set $more (i64.shr_u (i64.add (local.get $r{at}) (local.get $more)) (i64.const 51)))")
    code.append("(local.set $r0 (i64.add (local.get $r0) (i64.mul (local.get $more) (i64.const 19))))")
    code += carries[:-1]
    code.append(f"(local.set $r4 (i64.and (local.get $r4) (i64.const {_MASK})))")
    for word in range(4):
        code.append(
            _store(
                word,
                f"(i64.or (i64.shr_u (local.get $r{word}) (i64.const {13 * word}))"
                f" (i64.shl (local.get $r{word + 1}) (i64.const {_LIMB_BITS - 13 * word})))",
            )
        )
    return "\n".join(code)


def _carry(at: int) -> str:
    over = f"(i64.shr_u (local.get $r{at}) (i64.const 51))"
    if at == LIMBS - 1:
        over = f"(i64.mul {over} (i64.const 19))"
    following = (at + 1) % LIMBS
    return (
        f"(local.set $r{following} (i64.add (local.get $r{following}) {over}))"
        f"(local.set $r{at} (i64.and (local.get $r{at}) (i64.const {_MASK})))"
    )


def _unpacking() -> str:
    """The element of 32 bytes, of which the highest bit counts for nothing."""
    code = []
    for at in range(LIMBS):
        word, bit = divmod(_LIMB_BITS * at, 64)
        value = f"(i64.shr_u {_load('a', word)} (i64.const {bit}))"
        if bit + _LIMB_BITS > 64:
            value = f"(i64.or {value} (i64.shl {_load('a', word + 1)} (i64.const {64 - bit})))"
        code.append(_store(at, f"(i64.and {value} (i64.const {_MASK}))"))
    return "\n".join(code)
