"""Turns: whoever comes second waits, whoever gives up is passed over, nothing is left behind."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from homeserver.runtime.turns import Turns


class Queue:
    """People who want a turn, and what they did."""

    def __init__(self) -> None:
        self.turns: Turns[str] = Turns()
        self.done: list[str] = []

    def come(self, name: str, key: str, work: Deferred[None]) -> Deferred[None]:
        """Somebody wants a turn, and holds it until their work is over."""

        async def turn() -> None:
            async with self.turns.at(key):
                self.done.append(f"{name} begins")
                try:
                    await work
                finally:
                    self.done.append(f"{name} ends")

        return Deferred.fromCoroutine(turn())


def test_they_go_one_after_another_in_the_order_of_their_coming() -> None:
    queue = Queue()
    work: list[Deferred[None]] = [Deferred() for _ in range(3)]
    for name, each in zip("abc", work, strict=True):
        queue.come(name, "room", each)
    assert queue.done == ["a begins"]
    for each in work:
        each.callback(None)
    assert queue.done == ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]


def test_other_keys_do_not_wait() -> None:
    queue = Queue()
    queue.come("a", "room", Deferred())
    queue.come("b", "other room", Deferred())
    assert queue.done == ["a begins", "b begins"]


def test_who_fails_or_gives_up_lets_the_next_go_on() -> None:
    queue = Queue()
    failing: Deferred[None] = Deferred()
    first = queue.come("a", "room", failing).addErrback(lambda _: None)
    second = queue.come("b", "room", Deferred()).addErrback(lambda _: None)
    third: Deferred[None] = Deferred()
    queue.come("c", "room", third)
    second.cancel()
    failing.errback(RuntimeError())
    assert first.called
    assert queue.done == ["a begins", "a ends", "c begins"]
    third.callback(None)
    queue.come("d", "room", Deferred())
    assert queue.done[-1] == "d begins", "the lock was given back"
