"""The program of our own says of each equation what libsodium says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import nacl.bindings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.core.edwards_program import MOST_POINTS
from homeserver.core.signature_equation import ORDER, Checker, Equation, Program, holds_by_libsodium

PRIME = 2**255 - 19
PROGRAM = Program()
NUMBERS = st.integers(1, ORDER - 2)
ODD_NUMBERS = st.sampled_from([1, 2, 15, 16, 2**128, ORDER - 1, ORDER + 1, 2**512 - 1])


def point_of(exponent: int) -> bytes:
    return nacl.bindings.crypto_scalarmult_ed25519_base_noclamp((exponent % ORDER).to_bytes(32, "little"))


def equation_of(twice: list[int], once: list[int], key: int, hashes: int) -> Equation:
    """One that holds."""
    scalars = 2 * sum(twice) + sum(once) + hashes * key
    return Equation([*map(point_of, twice)], [*map(point_of, once)], point_of(key), hashes, scalars)


def by_libsodium(equation: Equation) -> bool:
    try:
        return holds_by_libsodium(equation)
    except (ValueError, RuntimeError):
        return False


@given(st.lists(NUMBERS, max_size=9), st.lists(NUMBERS, max_size=9), NUMBERS, NUMBERS | ODD_NUMBERS)
def test_what_holds_holds_and_nothing_near_it(twice: list[int], once: list[int], key: int, hashes: int) -> None:
    equation = equation_of(twice, once, key, hashes)
    assert PROGRAM.holds(equation)
    assert by_libsodium(equation) or equation.scalars % ORDER == 0 or equation.hashes % ORDER == 0
    assert not PROGRAM.holds(replace(equation, scalars=equation.scalars + 1))
    assert not PROGRAM.holds(replace(equation, hashes=hashes + 1))
    assert not PROGRAM.holds(replace(equation, once=[*equation.once, point_of(1)]))
    assert not PROGRAM.holds(replace(equation, twice=[*equation.twice, point_of(1)]))
    assert not PROGRAM.holds(replace(equation, key=point_of(key + 1)))


@settings(max_examples=300)
@given(st.binary(min_size=32, max_size=32) | st.integers(0, 40).map(lambda y: (PRIME - 20 + y).to_bytes(32, "little")))
def test_bytes_are_read_as_the_point_that_libsodium_reads(data: bytes) -> None:
    """Or as none: half of all bytes are none."""
    try:
        negative = nacl.bindings.crypto_core_ed25519_sub(point_of(ORDER - 1), data)
    except RuntimeError:
        assert not PROGRAM.holds(Equation([], [data], point_of(5), 1, 5))
        assert not PROGRAM.holds(Equation([data], [], point_of(5), 1, 5))
        assert not PROGRAM.holds(Equation([], [], data, 0, 0))
    else:
        # data + (-1 - data) + 5 = 4
        assert PROGRAM.holds(Equation([], [data, negative], point_of(5), 1, 4))
        assert PROGRAM.holds(Equation([data, negative], [], point_of(5), 1, 3))
        assert PROGRAM.holds(Equation([], [], data, 0, 0))


@pytest.mark.parametrize("count", [1, 50, MOST_POINTS])
def test_many_points_are_added(count: int) -> None:
    numbers = [*range(1, count + 1)]
    equation = equation_of(numbers[: count // 3], numbers[count // 3 :], 7, 2**252)
    assert PROGRAM.holds(equation)
    assert holds_by_libsodium(equation)
    assert not PROGRAM.holds(replace(equation, scalars=equation.scalars - 1))


@pytest.mark.parametrize(
    "odd",
    [
        lambda equation: replace(equation, once=[*equation.once, b""]),
        lambda equation: replace(equation, twice=[point_of(1)[:31]]),
        lambda equation: replace(equation, key=b"x"),
        lambda equation: replace(equation, once=[*equation.once] * MOST_POINTS),
    ],
)
def test_what_is_no_equation_of_points_is_refused(odd: Callable[[Equation], Equation]) -> None:
    equation = odd(equation_of([], [3, 4], 5, 6))
    with pytest.raises(ValueError, match="points"):
        PROGRAM.holds(equation)
    # It does no harm to the next one.
    assert PROGRAM.holds(equation_of([1], [3, 4], 5, 6))


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_checker_does_with_or_without_the_program(is_missing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_missing:
        monkeypatch.setitem(sys.modules, "wasmtime", None)
    checker = Checker()
    for equation in (equation_of([1], [3, 4], 5, 6), equation_of([1], [*range(1, MOST_POINTS + 1)], 5, 6)):
        assert checker.holds(equation)
        assert not checker.holds(replace(equation, hashes=7))
