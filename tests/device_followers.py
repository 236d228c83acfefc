"""Model clients that follow device lists, as the client-server API has it in "Tracking the device list for a user"."""

from __future__ import annotations

from collections.abc import Iterable

from tests.cast import Device
from tests.key_ring import changed, left, queries
from tests.sync_answer import Synced
from tests.wire import Json


class Follower:
    """A client that follows the device lists of all with whom it shares a room; nobody else is of interest."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.at = device.sync()
        self.lists: dict[str, Json] = {}
        self.outdated: set[str] = set()
        """Whose server did not answer: to be looked up again."""
        self.follows(self.neighbours())

    def neighbours(self) -> set[str]:
        """Who shares a room with the user, the user too: asked of the server."""
        rooms = self.device.asks("GET", "joined_rooms")["joined_rooms"]
        members = (self.device.asks("GET", "rooms", room, "joined_members")["joined"] for room in rooms)
        return {self.device.user_id, *(user for each in members for user in each)}

    def follows(self, users: Iterable[str], gone: Iterable[str] = ()) -> None:
        """Look up who changed, forget who is gone."""
        for user in gone:
            self.lists.pop(user, None)
            self.outdated.discard(user)
        wanted = self.outdated.union(users)
        if wanted:
            found = queries(self.device, *wanted)
            self.outdated = {user for user in wanted if user.partition(":")[2] in found["failures"]}
            for user in wanted:
                self.lists[user] = shown(found, user)

    def takes(self, answer: Synced) -> None:
        """Go on from an answer of /sync."""
        self.at = answer
        came, went = changed(answer.answer), left(answer.answer)
        assert not set(came) & set(went)
        self.follows(came, went)

    def catches_up(self, *, was_away: bool) -> None:
        """By /sync, or with a new start and /keys/changes."""
        if not was_away:
            self.takes(self.device.sync(self.at))
            return
        now = self.device.sync()
        query = {"from": self.at.next_batch, "to": now.next_batch}
        told = self.device.asks("GET", "keys", "changes", **query)
        self.at = now
        assert not set(told["changed"]) & set(told["left"])
        self.follows(told["changed"], told["left"])


def shown(found: Json, user: str) -> Json:
    """What an answer of /keys/query tells of a user."""
    return [found[part].get(user) for part in ("device_keys", "master_keys", "self_signing_keys")]
