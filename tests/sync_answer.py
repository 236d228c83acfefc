"""Lists of events and answers of /sync, read the way a client reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

from tests.wire import Json


class Events(list[Json]):
    """Events in order. An event id is `in` them if one of them has it."""

    def __contains__(self, wanted: object) -> bool:
        return wanted in self.ids if isinstance(wanted, str) else super().__contains__(wanted)

    @property
    def ids(self) -> list[str]:
        """Their ids; those without one are left out."""
        return [event["event_id"] for event in self if "event_id" in event]

    @property
    def types(self) -> list[str]:
        """Their types."""
        return [event["type"] for event in self]

    @property
    def bodies(self) -> list[str]:
        """What the messages among them say."""
        return [event["content"]["body"] for event in self if "body" in event["content"]]

    def of_type(self, wanted: str) -> Events:
        """Those of one type."""
        return Events(event for event in self if event["type"] == wanted)

    def event(self, event_id: str) -> Json:
        """The one with this id."""
        found = [event for event in self if event.get("event_id") == event_id]
        assert len(found) == 1, f"{event_id} is there {len(found)} times in {self.ids}"
        return found[0]

    def content(self, type: str, state_key: str | None = None) -> Json:
        """The content of the last one of a type (and state key)."""
        found = [e for e in self if e["type"] == type and (state_key is None or e.get("state_key") == state_key)]
        assert found, f"no {type} {state_key or ''} among {self.types}"
        return found[-1]["content"]

    @property
    def memberships(self) -> dict[str, str]:
        """Of the m.room.member events among them: each user's membership, the last one counts."""
        members = self.of_type("m.room.member")
        return {event["state_key"]: event["content"]["membership"] for event in members}


class Synced:
    """One answer of /sync, or a delta of a stream."""

    def __init__(self, answer: Json) -> None:
        self.answer = answer

    @property
    def next_batch(self) -> str:
        """Where to go on."""
        return str(self.answer["next_batch"])

    @property
    def joined(self) -> dict[str, Json]:
        """What came of rooms that the user is in."""
        return self._rooms("join")

    @property
    def invited(self) -> dict[str, Json]:
        """Invites."""
        return self._rooms("invite")

    @property
    def knocked(self) -> dict[str, Json]:
        """Knocks that nobody has answered."""
        return self._rooms("knock")

    @property
    def left(self) -> dict[str, Json]:
        """What came of rooms that the user was in."""
        return self._rooms("leave")

    def room(self, room: str) -> Json:
        """What came of a room, in whatever list; an empty object if nothing."""
        for found in (self.joined, self.left, self.invited, self.knocked):
            if room in found:
                return found[room]
        return {}

    def timeline(self, room: str) -> Events:
        """What happened in a room."""
        return Events(self.room(room).get("timeline", {}).get("events", []))

    def is_limited(self, room: str) -> bool:
        """Is there a gap before this timeline?"""
        return bool(self.room(room).get("timeline", {}).get("limited", False))

    def prev_batch(self, room: str) -> str:
        """Where /messages finds what is before this timeline."""
        return str(self.room(room)["timeline"]["prev_batch"])

    def state(self, room: str) -> Events:
        """The state before the timeline, as far as it is told."""
        return Events(self.room(room).get("state", {}).get("events", []))

    def all_events(self, room: str) -> Events:
        """State and timeline together: all that leads to the state at the end."""
        return Events([*self.state(room), *self.timeline(room)])

    def state_after(self, room: str) -> Events:
        """The state at the end of the timeline, as far as it is told."""
        found = self.room(room)
        return Events(found.get("state_after", found.get("org.matrix.msc4222.state_after", {})).get("events", []))

    def ephemeral(self, room: str) -> Events:
        """Receipts and typing."""
        return Events(self.room(room).get("ephemeral", {}).get("events", []))

    def room_account_data(self, room: str) -> Events:
        """What the user keeps of a room."""
        return Events(self.room(room).get("account_data", {}).get("events", []))

    def summary(self, room: str) -> Json:
        """Heroes and counts."""
        return self.room(room).get("summary", {})

    def unread(self, room: str) -> tuple[int, int]:
        """How many unread messages notify, and how many of them highlight."""
        counts = self.room(room)["unread_notifications"]
        return counts["notification_count"], counts["highlight_count"]

    def invite_state(self, room: str) -> Events:
        """What the invited may know of a room."""
        return Events(self.invited[room]["invite_state"]["events"])

    def knock_state(self, room: str) -> Events:
        """What those who knock may know of a room."""
        return Events(self.knocked[room]["knock_state"]["events"])

    @property
    def account_data(self) -> Events:
        """What the user keeps."""
        return self._events("account_data")

    @property
    def presence(self) -> Events:
        """Who is online."""
        return self._events("presence")

    @property
    def to_device(self) -> Events:
        """Messages to this device alone."""
        return self._events("to_device")

    def readers(self, room: str, event_id: str, kind: str = "m.read") -> dict[str, Json]:
        """Who has read up to an event, by the receipts in this answer."""
        receipts = self.ephemeral(room).of_type("m.receipt")
        found: dict[str, Json] = {}
        for event in receipts:
            found |= event["content"].get(event_id, {}).get(kind, {})
        return found

    def typing(self, room: str) -> list[str] | None:
        """Who is typing, None if this answer says nothing of it."""
        found = self.ephemeral(room).of_type("m.typing")
        return found[-1]["content"]["user_ids"] if found else None

    def _rooms(self, how: str) -> dict[str, Json]:
        found: dict[str, Json] = self.answer.get("rooms", {}).get(how, {})
        return found

    def _events(self, what: str) -> Events:
        return Events(self.answer.get(what, {}).get("events", []))


class Seen(list[Synced]):
    """Answers of /sync one after the other, each continuing the one before."""

    def timeline(self, room: str) -> Events:
        """What happened in a room, over all of them."""
        return Events(event for answer in self for event in answer.timeline(room))

    @property
    def last(self) -> Synced:
        """The last one."""
        return self[-1]

    @classmethod
    def until(cls, answers: Iterable[Synced], found: Callable[[Self], bool]) -> Self:
        """As many answers as it takes."""
        seen = cls()
        for answer in answers:
            seen.append(answer)
            if found(seen):
                return seen
        raise AssertionError("the answers ended")
