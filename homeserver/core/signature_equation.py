"""Whether a sum of Ed25519 signatures by one key comes out right: the mathematics of `signature_sums`.

libsodium adds two encoded points at a time, with three exponentiations: one to read each of them, one to write the sum.
Reading is the only one that each point needs. The program of `edwards_program` does all in one go, and wasmtime makes
machine code of it that is faster than libsodium's (11 ns a squaring), where Python's own integers take twenty times as
long. Where wasmtime cannot run (no wheel for the machine, a system that forbids to make machine code), libsodium adds.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final
from weakref import finalize

import nacl._sodium
import nacl.bindings

from homeserver.core import edwards_program
from homeserver.core.edwards_program import MOST_POINTS, POINT_BYTES

ORDER: Final = 2**252 + 27742317777372353535851937790883648493
"""Of the base point."""


@dataclass(frozen=True, slots=True)
class Equation:
    """scalars · base point = 2 · (points of `twice`) + (points of `once`) + hashes · key. All points are encoded."""

    twice: Sequence[bytes]
    once: Sequence[bytes]
    key: bytes
    hashes: int
    scalars: int


class Checker:
    """Finds out which equations hold. May be used by several threads, and then makes one wait for the other."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_ready = False
        self._program: Program | None = None

    def get_ready(self) -> None:
        """Load what is needed, which takes some hundredths of a second and some megabytes, unless that is done."""
        with self._lock:
            if not self._is_ready:
                try:
                    self._program = Program()
                except Exception:  # noqa: BLE001 -- whatever it is that wasmtime lacks on this machine
                    self._program = None
                self._is_ready = True

    def holds(self, equation: Equation) -> bool:
        """Whether both sides are the same. Raises ValueError or another exception where these are no points."""
        if not self._is_ready:
            self.get_ready()
        if self._program is None or len(equation.once) + len(equation.twice) > MOST_POINTS:
            return holds_by_libsodium(equation)
        with self._lock:
            return self._program.holds(equation)


class Program:
    """The program, compiled. For one thread at a time. Raises an exception where wasmtime cannot run."""

    def __init__(self) -> None:
        import wasmtime

        config = wasmtime.Config()
        config.wasm_wide_arithmetic = True
        with wasmtime.Engine(config) as engine, wasmtime.Module(engine, edwards_program.text()) as module:
            self._store = wasmtime.Store(engine)
            exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        # Before the interpreter takes the modules apart, of which it needs some to let go of it.
        finalize(self, self._store.close)
        memory, check = exports["memory"], exports["check"]
        assert isinstance(memory, wasmtime.Memory) and isinstance(check, wasmtime.Func)
        self._check = check
        begin = ctypes.addressof(memory.data_ptr(self._store).contents)
        self._given = begin + edwards_program.TWICE_AT
        self._result = ctypes.c_uint32.from_address(begin + edwards_program.RESULT_AT)

    def holds(self, equation: Equation) -> bool:
        """Whether the equation holds; also False where there is no such point."""
        count = len(equation.twice) + len(equation.once)
        given = b"".join(
            (
                len(equation.twice).to_bytes(4, "little"),
                count.to_bytes(4, "little"),
                _number(equation.hashes),
                _number(equation.scalars),
                equation.key,
                *equation.twice,
                *equation.once,
            )
        )
        if len(given) != 8 + (3 + count) * POINT_BYTES or count > MOST_POINTS:
            raise ValueError("these are no points, or too many")
        ctypes.memmove(self._given, given, len(given))
        self._check(self._store)
        return self._result.value == 1


def holds_by_libsodium(equation: Equation) -> bool:
    """The same. Raises ValueError or another exception where these are no points."""
    once = list(equation.once)
    if equation.twice:
        double = _added(equation.twice)
        once += (double, double)
    once.append(nacl.bindings.crypto_scalarmult_ed25519_noclamp(_number(equation.hashes), equation.key))
    return nacl.bindings.crypto_scalarmult_ed25519_base_noclamp(_number(equation.scalars)) == _added(once)


def _added(points: Sequence[bytes]) -> bytes:
    if not all(len(point) == POINT_BYTES for point in points):
        raise ValueError("these are no points")
    # Also the first one of one is looked at.
    sum_ = ctypes.create_string_buffer(_NEUTRAL, POINT_BYTES)
    address = ctypes.addressof(sum_)
    for point in points:
        if _add(address, address, point):
            raise ValueError("one of these is no point of the curve")
    return sum_.raw


def _number(value: int) -> bytes:
    return (value % ORDER).to_bytes(32, "little")


_NEUTRAL: Final = (1).to_bytes(POINT_BYTES, "little")

# The public function of libsodium, without the lock of the interpreter being let go of and fought for at each addition:
# with other threads at work that takes as long as the additions, of which each takes 15 µs.
_add: Final = ctypes.PyDLL(nacl._sodium.__file__).crypto_core_ed25519_add
_add.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
