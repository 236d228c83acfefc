"""Clients that keep a picture of the world from what /sync tells them step by step, as real clients do."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.cast import Device
from tests.sync_answer import Events, Synced
from tests.wire import Json

StateKey = tuple[str, str]


@dataclass(slots=True)
class View:
    """A room as a client sees it."""

    state: dict[StateKey, str] = field(default_factory=dict)
    timeline: list[str] = field(default_factory=list)
    summary: dict[str, Json] = field(default_factory=dict)
    unread: tuple[int, int] = (0, 0)
    receipts: dict[tuple[str, str, str], str] = field(default_factory=dict)
    account_data: dict[str, Json] = field(default_factory=dict)

    def forgets_receipts_but(self, events: list[str], owner: str) -> None:
        """Keep those of these events, and the owner's. The first answer has no others' receipts of older events."""
        self.receipts = {key: event for key, event in self.receipts.items() if event in events or key[1] == owner}

    def as_told(self, lazy: bool) -> Json:
        """What two clients that saw the same must agree on. Lazy ones know only some members."""
        state = {key: value for key, value in self.state.items() if not lazy or key[0] != "m.room.member"}
        counts = {name: self.summary.get(name) for name in ("m.joined_member_count", "m.invited_member_count")}
        return {
            "state": state,
            "counts": counts,
            "unread": self.unread,
            "receipts": self.receipts,
            "account_data": self.account_data,
        }


class Follower:
    """One client, that syncs when it likes, with a filter of its own."""

    def __init__(self, device: Device, limit: int, *, lazy: bool = False, state_after: bool = False) -> None:
        self.device = device
        self.lazy = lazy
        self.views: dict[str, View] = {}
        self.invited: set[str] = set()
        self.since: Synced | None = None
        self.account_data: dict[str, Json] = {}
        self._state_after = state_after
        self._filter: Json = {"room": {"timeline": {"limit": limit}}}
        if lazy:
            self._filter["room"]["state"] = {"lazy_load_members": True}

    def syncs(self) -> None:
        """Ask for what is new, and take it in."""
        use = True if self._state_after else None
        told = self.device.sync(self.since, filter=self._filter, use_state_after=use)
        for room in told.joined:
            self._joined(room, told)
        for room in told.left:
            self.views.pop(room, None)
            self.invited.discard(room)
        for room in told.invited:
            self.views.pop(room, None)
            self.invited.add(room)
        self.account_data |= {event["type"]: event["content"] for event in told.account_data}
        self.since = told

    def fresh(self) -> Follower:
        """Another client of the same device, which knows nothing yet."""
        other = Follower(self.device, 5, lazy=self.lazy, state_after=self._state_after)
        other.syncs()
        return other

    def picture(self) -> Json:
        """All that it knows, but for timelines."""
        rooms = {room: view.as_told(self.lazy) for room, view in self.views.items()}
        return {"rooms": rooms, "invited": sorted(self.invited), "account_data": self.account_data}

    def _joined(self, room: str, told: Synced) -> None:
        self.invited.discard(room)
        is_new = room not in self.views
        view = self.views.setdefault(room, View())
        timeline = told.timeline(room)
        if told.is_limited(room) and self.since is not None and not is_new:
            view.timeline += self._between(room, told.prev_batch(room), self.since.next_batch)
        # Who left and came back in between gets the room anew, with a limited timeline that may begin before `since`.
        known = set(view.timeline) if told.is_limited(room) else set()
        view.timeline += [event for event in timeline.ids if event not in known]
        before = told.state_after(room) if self._state_after else Events([*told.state(room), *timeline])
        for event in before:
            if "state_key" in event:
                view.state[event["type"], event["state_key"]] = event["event_id"]
        view.summary |= told.summary(room)
        if "unread_notifications" in told.room(room):
            view.unread = told.unread(room)
        for event in told.ephemeral(room).of_type("m.receipt"):
            for event_id, kinds in event["content"].items():
                for kind, readers in kinds.items():
                    for reader, receipt in readers.items():
                        view.receipts[kind, reader, receipt.get("thread_id", "")] = event_id
        view.account_data |= {event["type"]: event["content"] for event in told.room_account_data(room)}

    def _between(self, room: str, start: str, end: str) -> list[str]:
        page, answer = self.device.messages(room, start=start, to=end, limit=100)
        assert "end" not in answer or not answer["chunk"], "the story is too long for one page"
        return page.ids[::-1]


def differences(one: Json, other: Json, where: str = "") -> list[str]:
    """Where two pictures differ, each place in a line."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(key for key in other if key not in one)]
        return [
            line
            for key in keys
            for line in (
                differences(one[key], other[key], f"{where}/{key}")
                if key in one and key in other
                else [f"{where}/{key}: {one.get(key, 'nothing')} and {other.get(key, 'nothing')}"]
            )
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [line for number, (a, b) in pairs for line in differences(a, b, f"{where}[{number}]")]
    return [] if one == other else [f"{where}: {one} and {other}"]
