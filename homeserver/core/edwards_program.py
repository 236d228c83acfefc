"""The text of a WebAssembly program that checks a sum of Ed25519 signatures by one key. `signature_equation` runs it.

Curve and formulas: RFC 8032, 5.1. Elements of the field are at fixed places in the memory; a point is four of them:
X, Y, Z, T with x = X/Z, y = Y/Z, x·y = T/Z. Nothing in here is secret, so nothing takes care to always last the same
time.
"""

from __future__ import annotations

from typing import Final

from homeserver.core.field_program import ELEMENT_BYTES, PRIME, element, functions

POINT_BYTES: Final = 32
MOST_POINTS: Final = 1_024

# The memory, as the one who calls fills it; the fields of the curve and the points that are computed come before.
RESULT_AT: Final = 8_184
"""1 if the equation holds, else 0."""
TWICE_AT: Final = 8_188
"""How many of the points, the first ones, count twice."""
COUNT_AT: Final = 8_192
"""How many points there are."""
HASHES_AT: Final = 8_196
"""The number of times that the key is taken, in 32 bytes."""
SCALARS_AT: Final = 8_228
"""The number of times that the base point is taken, in 32 bytes."""
KEY_AT: Final = 8_260
"""The key, encoded; after it the points."""

_D: Final = -121665 * pow(121666, -1, PRIME) % PRIME
_ROOT_OF_MINUS_ONE: Final = pow(2, (PRIME - 1) // 4, PRIME)

_WHOLE_POINT_BYTES: Final = 4 * ELEMENT_BYTES
_BASE_Y: Final = 4 * pow(5, -1, PRIME) % PRIME
_BASE_X: Final = 15112221349535400772501151409588531511454012693041857206046113283949847762202

# "base" and the three after it are the base point, the other way round: it is taken away.
_CONSTANTS: Final = {
    "zero": 0,
    "one": 1,
    "d": _D,
    "2d": 2 * _D % PRIME,
    "i": _ROOT_OF_MINUS_ONE,
    "base": -_BASE_X % PRIME,
    "base.Y": _BASE_Y,
    "base.Z": 1,
    "base.T": -_BASE_X * _BASE_Y % PRIME,
}
_SUM: Final = ("X", "Y", "Z", "T")
_POINT: Final = ("x", "y", "z", "w")
_VARIABLES: Final = (*_SUM, *_POINT, *"uvstpqrabcefg")
_PLACES: Final = {name: number * ELEMENT_BYTES for number, name in enumerate((*_CONSTANTS, *_VARIABLES))}
_MULTIPLES: Final = 16
_OF_POINTS_AT: Final = 2_048
"""Where the sum of the points is kept; then the first multiples of the key, and of the base point."""
_OF_KEY_AT: Final = _OF_POINTS_AT + _WHOLE_POINT_BYTES
_OF_BASE_AT: Final = _OF_KEY_AT + _MULTIPLES * _WHOLE_POINT_BYTES


def text() -> str:
    """The text. It exports its memory, and `check`, which takes and gives nothing else: that is the quickest call."""
    data = b"".join(map(element, _CONSTANTS.values()))
    escaped = "".join(f"\\{byte:02x}" for byte in data)
    return "\n".join(
        (
            '(module (memory (export "memory") 1)',
            f'(data (i32.const 0) "{escaped}")',
            *functions(),
            _IS_ZERO,
            f"(func $power (param $z i32) {_steps(_POWER)})",
            f"(func $read (param $at i32) (result i32) {_READ})",
            f"(func $add_point (param $p i32) {_add_point()})",
            f"(func $double {_steps(_DOUBLE)})",
            f"(func $clear {_steps(_CLEAR)})",
            f"(func $keep (param $o i32) {_keeping()})",
            _ADD_POINTS,
            _FIND_MULTIPLES,
            _ADD_MULTIPLE,
            _CHECK,
            ")",
        )
    )


def _steps(text: str) -> str:
    """Calls with field elements, such as `mul x y z` for x = y·z. `$z` is a parameter, and numbers are numbers."""
    code = []
    for line in text.strip().splitlines():
        name, *arguments = line.split()
        given = [
            f"(local.get {each})" if each[0] == "$" else f"(i32.const {_PLACES.get(each, each)})" for each in arguments
        ]
        code.append(f"(call ${name} {' '.join(given)})")
    return "\n".join(code)


_WORDS: Final = [f"(i64.load (i32.const {_PLACES['s'] + at}))" for at in range(0, POINT_BYTES, 8)]
_IS_ZERO: Final = f"""
(func $is_zero (param $a i32) (result i32)
  (call $pack (i32.const {_PLACES["s"]}) (local.get $a))
  (i64.eqz (i64.or (i64.or {_WORDS[0]} {_WORDS[1]}) (i64.or {_WORDS[2]} {_WORDS[3]}))))
"""

# p = z^(2^250 - 1)
_POWER: Final = """
square p $z
squares q p 2
mul q $z q
mul p p q
square p p
mul p q p
squares q p 5
mul p q p
squares q p 10
mul q q p
squares r q 20
mul q r q
squares q q 10
mul p q p
squares q p 50
mul q q p
squares r q 100
mul q r q
squares q q 50
mul p q p
"""

# x² = u / v with u = y² - 1, v = d·y² + 1; x = u·v³·(u·v⁷)^((p-5)/8), or that times the root of -1.
_READ: Final = "\n".join(
    (
        f"(call $unpack (i32.const {_PLACES['y']}) (local.get $at))",
        _steps(
            """
            square u y
            mul v u d
            sub u u one
            add v v one
            square t v
            mul t t v
            mul x t u
            square t t
            mul t t v
            mul t t u
            power t
            squares p p 2
            mul p p t
            mul x x p
            square t x
            mul t t v
            sub a u t
            """
        ),
        f"(if (i32.eqz (call $is_zero (i32.const {_PLACES['a']}))) (then",
        _steps("add a t u\nmul x x i"),
        f"(if (i32.eqz (call $is_zero (i32.const {_PLACES['a']}))) (then (return (i32.const 0))))))",
        # The highest bit says whether x is odd.
        f"(call $pack (i32.const {_PLACES['s']}) (i32.const {_PLACES['x']}))",
        f"(if (i32.xor (i32.and (i32.load (i32.const {_PLACES['s']})) (i32.const 1))"
        " (i32.shr_u (i32.load offset=28 (local.get $at)) (i32.const 31))) (then",
        _steps("sub x zero x"),
        "))",
        _steps("add z one zero\nmul w x y"),
        "(i32.const 1)",
    )
)

# (X, Y, Z, T) += the point at $p, which may be the same.
_ADD_POINT: Final = """
sub s Y X
sub t $y $x
mul a s t
add s Y X
add t $y $x
mul b s t
mul t $t 2d
mul c T t
mul t Z $z
add t t t
sub e b a
add s b a
sub f t c
add g t c
mul X e f
mul Y g s
mul T e s
mul Z f g
"""


# The same with itself. Limbs of f come to 54.2 bits, and those that it is multiplied with to 53.4.
_DOUBLE: Final = """
square a X
square b Y
square c Z
add c c c
add s X Y
square s s
add t a b
sub e s t
sub g b a
sub f g c
sub t zero t
mul X e f
mul Y g t
mul T e t
mul Z f g
"""


def _add_point() -> str:
    named = {"$x": 0, "$y": 1, "$z": 2, "$t": 3}
    code = [f"(local ${name[1]} i32)" for name in named]
    code += [
        f"(local.set {name} (i32.add (local.get $p) (i32.const {number * ELEMENT_BYTES})))"
        for name, number in named.items()
    ]
    return "\n".join((*code, _steps(_ADD_POINT)))


_CLEAR: Final = """
add X zero zero
add Y one zero
add Z one zero
add T zero zero
"""


def _keeping() -> str:
    """Copy the sum."""
    begin = _PLACES[_SUM[0]]
    return " ".join(
        f"(i64.store offset={at} (local.get $o) (i64.load (i32.const {begin + at})))"
        for at in range(0, _WHOLE_POINT_BYTES, 8)
    )


_ADD_POINTS: Final = f"""
(func $add_points (param $at i32) (param $end i32) (result i32)
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
    (if (i32.eqz (call $read (local.get $at))) (then (return (i32.const 0))))
    (call $add_point (i32.const {_PLACES["x"]}))
    (local.set $at (i32.add (local.get $at) (i32.const {POINT_BYTES})))
    (br $next)))
  (i32.const 1))
"""

_FIND_MULTIPLES: Final = f"""
(func $find_multiples (param $at i32) (param $of i32) (local $end i32)
  (call $clear)
  (local.set $end (i32.add (local.get $at) (i32.const {_MULTIPLES * _WHOLE_POINT_BYTES})))
  (loop $next
    (call $keep (local.get $at))
    (call $add_point (local.get $of))
    (local.set $at (i32.add (local.get $at) (i32.const {_WHOLE_POINT_BYTES})))
    (br_if $next (i32.lt_u (local.get $at) (local.get $end)))))
"""

_ADD_MULTIPLE: Final = f"""
(func $add_multiple (param $table i32) (param $digit i32)
  (call $add_point (i32.add (local.get $table) (i32.mul (local.get $digit) (i32.const {_WHOLE_POINT_BYTES})))))
"""


def _add_digit(number_at: int, table_at: int, digit: str) -> str:
    byte = f"(i32.load8_u offset={number_at} (local.get $byte))"
    return f"(call $add_multiple (i32.const {table_at}) {digit.format(byte)})"


def _add_digits(digit: str) -> str:
    return "(call $double)" * 4 + _add_digit(HASHES_AT, _OF_KEY_AT, digit) + _add_digit(SCALARS_AT, _OF_BASE_AT, digit)


_HIGH: Final = "(i32.shr_u {} (i32.const 4))"
_LOW: Final = "(i32.and {} (i32.const 15))"
_POINTS_AT: Final = KEY_AT + POINT_BYTES

_CHECK: Final = f"""
(func (export "check") (local $byte i32) (local $end i32) (local $twice i32)
  (i32.store (i32.const {RESULT_AT}) (i32.const 0))
  (local.set $twice (i32.add (i32.const {_POINTS_AT})
    (i32.mul (i32.load (i32.const {TWICE_AT})) (i32.const {POINT_BYTES}))))
  (local.set $end (i32.add (i32.const {_POINTS_AT})
    (i32.mul (i32.load (i32.const {COUNT_AT})) (i32.const {POINT_BYTES}))))
  (call $clear)
  (if (i32.eqz (call $add_points (i32.const {_POINTS_AT}) (local.get $twice))) (then (return)))
  (call $double)
  (if (i32.eqz (call $add_points (local.get $twice) (local.get $end))) (then (return)))
  (call $keep (i32.const {_OF_POINTS_AT}))
  (if (i32.eqz (call $read (i32.const {KEY_AT}))) (then (return)))
  (call $find_multiples (i32.const {_OF_KEY_AT}) (i32.const {_PLACES["x"]}))
  (call $find_multiples (i32.const {_OF_BASE_AT}) (i32.const {_PLACES["base"]}))
  (call $clear)
  (local.set $byte (i32.const {POINT_BYTES}))
  (loop $next
    (local.set $byte (i32.sub (local.get $byte) (i32.const 1)))
    {_add_digits(_HIGH)}
    {_add_digits(_LOW)}
    (br_if $next (local.get $byte)))
  (call $add_point (i32.const {_OF_POINTS_AT}))
  {_steps("sub a Z Y")}
  (if (i32.eqz (call $is_zero (i32.const {_PLACES["a"]}))) (then (return)))
  (i32.store (i32.const {RESULT_AT}) (call $is_zero (i32.const {_PLACES["X"]}))))
"""
