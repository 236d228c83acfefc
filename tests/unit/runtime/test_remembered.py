"""What was read is remembered until it changes, and never what a change has overtaken."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from homeserver.runtime.remembered import Remembered


class Table:
    """Answers each reading when it is told to, with what was there when the reading began."""

    def __init__(self) -> None:
        self.values = {"one": 1, "two": 2}
        self.asked: list[list[str]] = []
        self.waiting: list[tuple[dict[str, int], Deferred[dict[str, int]]]] = []

    def read(self, keys: Sequence[str]) -> Deferred[dict[str, int]]:
        self.asked.append(list(keys))
        answer: Deferred[dict[str, int]] = Deferred()
        self.waiting.append(({key: self.values[key] for key in keys if key in self.values}, answer))
        return answer

    def answers(self) -> None:
        found, answer = self.waiting.pop(0)
        answer.callback(found)


def ask(known: Remembered[str, int], table: Table, *keys: str) -> Deferred[dict[str, int]]:
    return Deferred.fromCoroutine(known.of(keys, table.read))


def result_of(asked: Deferred[dict[str, int]]) -> dict[str, int]:
    found: list[dict[str, int]] = []
    asked.addCallback(found.append)
    assert found, "there is no answer yet"
    return found[0]


def test_only_what_is_missing_is_read() -> None:
    known: Remembered[str, int] = Remembered(10)
    table = Table()
    first = ask(known, table, "one", "none")
    table.answers()
    assert result_of(first) == {"one": 1}
    second = ask(known, table, "one", "two")
    table.answers()
    assert result_of(second) == {"one": 1, "two": 2}
    assert result_of(ask(known, table, "two", "one")) == {"one": 1, "two": 2}
    assert table.asked == [["one", "none"], ["two"]]
    assert known.get("none") is None


def test_a_change_is_read_anew() -> None:
    known: Remembered[str, int] = Remembered(10)
    table = Table()
    ask(known, table, "one", "two")
    table.answers()
    table.values["one"] = 10
    known.changed("one")
    again = ask(known, table, "one", "two")
    table.answers()
    assert result_of(again) == {"one": 10, "two": 2}
    assert table.asked == [["one", "two"], ["one"]]


def test_what_changes_while_it_is_read_is_not_remembered() -> None:
    known: Remembered[str, int] = Remembered(10)
    table = Table()
    early = ask(known, table, "one", "two")
    table.values["one"] = 10
    known.changed("one")
    late = ask(known, table, "one")
    table.answers()
    assert result_of(early) == {"one": 1, "two": 2}
    assert known.get("one") is None and known.get("two") == 2
    table.answers()
    assert result_of(late) == {"one": 10}
    assert known.get("one") == 10


def test_a_reading_that_fails_leaves_nothing_behind() -> None:
    known: Remembered[str, int] = Remembered(10)
    table = Table()
    failed = ask(known, table, "one")
    failures: list[object] = []
    failed.addErrback(lambda failure: failures.append(failure.value))
    table.waiting.pop(0)[1].errback(OSError("the database is away"))
    assert len(failures) == 1
    known.changed("one")
    again = ask(known, table, "one")
    table.answers()
    assert result_of(again) == {"one": 1}
