"""Events whose past could not be had: when they are tried again, and when no more."""

from __future__ import annotations

from homeserver.rooms.put_off import MOST_IN_ROOM, MOST_OF_ALL, MOST_TRIES, PutOff
from homeserver.runtime.clock import FakeClock

ROOM, OTHER = "!room:a.example", "!other:a.example"


def test_an_event_is_tried_again_after_longer_and_longer_times_and_given_up_in_the_end() -> None:
    clock = FakeClock()
    put_off = PutOff(clock, lambda: 0.0)
    waits_s = []
    while put_off.put_off(ROOM, "$event", "a.example"):
        began_s = clock.monotonic_s()
        assert put_off.due_rooms() == []
        assert put_off.not_due(ROOM) == ["$event"]
        while not put_off.due_rooms():
            clock.advance(5)
        assert put_off.not_due(ROOM) == []
        waits_s.append(clock.monotonic_s() - began_s)
    assert waits_s == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600]
    assert len(waits_s) == MOST_TRIES - 1


def test_what_a_server_sent_is_due_when_the_server_is_heard_from() -> None:
    put_off = PutOff(FakeClock())
    put_off.put_off(ROOM, "$one", "a.example")
    put_off.put_off(ROOM, "$two", "b.example")
    put_off.put_off(OTHER, "$three", "b.example")
    put_off.is_back("a.example")
    assert put_off.due_rooms() == [ROOM]
    assert put_off.not_due(ROOM) == ["$two"]
    assert put_off.not_due(OTHER) == ["$three"]


def test_what_was_dealt_with_is_forgotten() -> None:
    put_off = PutOff(FakeClock())
    put_off.put_off(ROOM, "$one", "a.example")
    put_off.forget(ROOM, ["$one", "$never"])
    put_off.forget(OTHER, ["$never"])
    put_off.is_back("a.example")
    assert put_off.due_rooms() == []


def test_a_room_puts_off_so_many_events_and_no_more() -> None:
    put_off = PutOff(FakeClock())
    assert all(put_off.put_off(ROOM, f"${number}", "a.example") for number in range(MOST_IN_ROOM))
    assert not put_off.put_off(ROOM, "$more", "a.example")
    assert put_off.put_off(ROOM, "$7", "a.example")
    assert put_off.put_off(OTHER, "$more", "a.example")


def test_what_is_held_is_tried_when_it_is_released_and_not_before() -> None:
    clock = FakeClock()
    put_off = PutOff(clock)
    assert put_off.hold(ROOM, "$one", "a.example")
    assert put_off.hold(ROOM, "$two", "a.example")
    clock.advance(1_000_000)
    put_off.is_back("a.example")
    assert put_off.due_rooms() == []
    put_off.release(ROOM, {"$two"})
    assert put_off.due_rooms() == [ROOM]
    assert put_off.not_due(ROOM) == ["$two"]


def test_so_many_events_are_put_off_in_all_rooms_and_no_more() -> None:
    put_off = PutOff(FakeClock())
    rooms, rest = divmod(MOST_OF_ALL, MOST_IN_ROOM)
    assert rest == 0
    for room in range(rooms):
        assert all(put_off.put_off(f"!{room}", f"${number}", "a.example") for number in range(MOST_IN_ROOM))
    assert not put_off.put_off(ROOM, "$more", "a.example")
    put_off.forget("!0", ["$0", "$never"])
    assert put_off.put_off(ROOM, "$more", "a.example")
    assert not put_off.put_off(ROOM, "$yet more", "a.example")
