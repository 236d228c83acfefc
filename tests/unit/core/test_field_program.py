"""The field of curve25519 as a program, with limbs as large as they may be."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from weakref import finalize

import wasmtime
from hypothesis import example, given
from hypothesis import strategies as st

from homeserver.core.field_program import ELEMENT_BYTES, LIMBS, PRIME, functions

NAMES = ("mul", "square", "squares", "sub", "pack")
A, B, OUT, PACKED = (ELEMENT_BYTES * place for place in range(4))
Limbs = Sequence[int]


def limbs(bits: int) -> st.SearchStrategy[list[int]]:
    largest = 2**bits - 1
    return st.lists(st.sampled_from([0, 1, largest]) | st.integers(0, largest), min_size=LIMBS, max_size=LIMBS)


def value_of(element: Limbs) -> int:
    return sum(limb << 51 * at for at, limb in enumerate(element))


class Field:
    def __init__(self) -> None:
        config = wasmtime.Config()
        config.wasm_wide_arithmetic = True
        exports = [f'(export "{name}" (func ${name}))' for name in NAMES]
        text = "\n".join(('(module (memory (export "memory") 1)', *functions(), *exports, ")"))
        with wasmtime.Engine(config) as engine, wasmtime.Module(engine, text) as module:
            self._store = wasmtime.Store(engine)
            self._exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        finalize(self, self._store.close)
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._begin = ctypes.addressof(memory.data_ptr(self._store).contents)

    def put(self, at: int, element: Limbs) -> None:
        ctypes.memmove(self._begin + at, struct.pack("<5Q", *element), ELEMENT_BYTES)

    def do(self, name: str, *arguments: int) -> int:
        """What a function makes, packed."""
        self._call(name, OUT, *arguments)
        self._call("pack", PACKED, OUT)
        return int.from_bytes(ctypes.string_at(self._begin + PACKED, 32), "little")

    def limbs(self) -> Limbs:
        return struct.unpack("<5Q", ctypes.string_at(self._begin + OUT, ELEMENT_BYTES))

    def _call(self, name: str, *arguments: int) -> None:
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        function(self._store, *arguments)


FIELD = Field()
LARGEST = [2**54 - 1] * LIMBS


@given(limbs(54), limbs(54))
@example(LARGEST, LARGEST)
def test_products_are_right_and_have_small_limbs(one: Limbs, other: Limbs) -> None:
    FIELD.put(A, one)
    FIELD.put(B, other)
    assert FIELD.do("mul", A, B) == value_of(one) * value_of(other) % PRIME
    assert max(FIELD.limbs()) < 2**51 + 2**18
    assert FIELD.do("square", A) == value_of(one) ** 2 % PRIME
    assert max(FIELD.limbs()) < 2**51 + 2**18
    assert FIELD.do("squares", A, 3) == pow(value_of(one), 8, PRIME)


@given(limbs(53), limbs(52))
def test_a_difference_can_be_multiplied(one: Limbs, other: Limbs) -> None:
    FIELD.put(A, one)
    FIELD.put(B, other)
    assert FIELD.do("sub", A, B) == (value_of(one) - value_of(other)) % PRIME
    assert max(FIELD.limbs()) < 2**54
    FIELD.put(A, FIELD.limbs())
    assert FIELD.do("square", A) == (value_of(one) - value_of(other)) ** 2 % PRIME
