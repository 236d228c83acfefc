"""The timer wheel."""

from __future__ import annotations

import math

from homeserver.runtime.wheel import Wheel


def test_a_name_comes_once_and_not_before_its_time() -> None:
    wheel = Wheel(5)
    wheel.at("a", 12)
    assert wheel.due(12) == []
    assert wheel.due(15) == ["a"]
    assert wheel.due(1000) == []
    assert len(wheel) == 0


def test_the_earliest_time_holds() -> None:
    wheel = Wheel(5)
    wheel.at("a", 40)
    wheel.at("a", 10)
    wheel.at("a", 30)
    assert wheel.due(10) == ["a"]
    assert wheel.due(100) == []


def test_a_name_may_come_again() -> None:
    wheel = Wheel(5)
    wheel.at("a", 40)
    wheel.at("a", 10)
    assert wheel.due(10) == ["a"]
    wheel.at("a", 40)
    assert wheel.due(40) == ["a"]
    assert wheel.due(40) == []


def test_never_is_not_kept() -> None:
    wheel = Wheel(5)
    wheel.at("a", math.inf)
    assert len(wheel) == 0


def test_all_whose_time_has_come_are_given_earliest_first() -> None:
    wheel = Wheel(1)
    for number in (3, 1, 2, 9):
        wheel.at(str(number), number)
    assert wheel.due(5) == ["1", "2", "3"]
