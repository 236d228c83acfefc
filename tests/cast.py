"""People who act in scenarios: they speak to a homeserver with a plain blocking client, as their clients would.

def test_a_message_reaches_both_devices(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet", devices=["laptop", "phone"])
    room = romeo.creates_room(invite=[juliet])
    juliet.joins(room)
    sent = romeo.says(room, "soft, what light")
    assert sent in juliet.laptop.sync().timeline(room)
    assert sent in juliet.phone.sync().timeline(room)

Whatever is refused raises `Refused`; `with refused("M_FORBIDDEN"):` expects it.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, cast

from tests.servers import Homeserver
from tests.sync_answer import Events, Seen, Synced
from tests.wire import Json, Response, Wire, client_path

PASSWORD: Final = "a password for tests"
PATIENCE_S: Final = 30.0
LONG_POLL_MS: Final = 10_000


class Refused(AssertionError):
    """The server did not do what it was asked to."""

    def __init__(self, asked: str, answer: Response) -> None:
        super().__init__(f"{asked} was answered with {answer}")
        self.answer = answer
        self.status = answer.status
        self.errcode = answer.errcode


@contextmanager
def refused(errcode: str, status: int | None = None) -> Iterator[None]:
    """What happens inside must be refused with this code (and status)."""
    try:
        yield
    except Refused as refusal:
        assert refusal.errcode == errcode, refusal
        assert status is None or refusal.status == status, refusal
        # "Standard error response": `error` is there for people to read.
        assert isinstance(refusal.answer.json["error"], str), refusal
    else:
        raise AssertionError(f"this should have been refused with {errcode}")


class Device:
    """A user on one device: what they can do there. Rooms and events are named by their ids."""

    def __init__(self, wire: Wire, user_id: str, device_id: str, token: str) -> None:
        self.wire = wire
        self.user_id = user_id
        self.device_id = device_id
        self.token = token
        self._txn_ids = itertools.count(1)

    def __repr__(self) -> str:
        return f"{self.user_id}/{self.device_id}"

    # Asking

    def call(self, method: str, path: str, body: Json = None, **how: Json) -> Response:
        """Any request in the user's name; the answer, whatever it is."""
        return self.wire.ask(method, path, body, self.token, **how)

    def asks(self, method: str, *parts: str, body: Json = None, version: str = "v3", **query: Json) -> Json:
        """A request of the client-server API; the JSON of an answer of 200. Raises Refused for anything else."""
        path = client_path(*parts, version=version, **query)
        answer = self.call(method, path, body)
        if answer.status != 200:
            raise Refused(f"{self}: {method} {path}", answer)
        return answer.json

    def new_txn_id(self) -> str:
        """A transaction id that this device has not used."""
        return f"txn{next(self._txn_ids)}"

    # Rooms

    def creates_room(self, *, invite: Sequence[Device] = (), **options: Json) -> str:
        """Make a room; the options are those of POST /createRoom."""
        body = {**options, **({"invite": [who.user_id for who in invite]} if invite else {})}
        return str(self.asks("POST", "createRoom", body=body)["room_id"])

    def joins(self, room: str, **more: Json) -> None:
        """Join a room by its id or alias."""
        answer = self.asks("POST", "join", room, body=more)
        assert room.startswith("#") or answer["room_id"] == room

    def leaves(self, room: str, **more: Json) -> None:
        """Leave, or decline an invite, or take a knock back."""
        assert self.asks("POST", "rooms", room, "leave", body=more) == {}

    def forgets(self, room: str) -> None:
        """Forget a room that was left."""
        assert self.asks("POST", "rooms", room, "forget") == {}

    def knocks(self, room: str, **more: Json) -> None:
        """Ask to be let in."""
        assert self.asks("POST", "knock", room, body=more)["room_id"] == room

    def invites(self, room: str, who: Device, **more: Json) -> None:
        """Invite someone."""
        self._moves("invite", room, who, more)

    def kicks(self, room: str, who: Device, **more: Json) -> None:
        """Put someone out."""
        self._moves("kick", room, who, more)

    def bans(self, room: str, who: Device, **more: Json) -> None:
        """Put someone out for good."""
        self._moves("ban", room, who, more)

    def unbans(self, room: str, who: Device, **more: Json) -> None:
        """Take a ban back."""
        self._moves("unban", room, who, more)

    # Events

    def sends(self, room: str, type: str, content: Json, txn_id: str | None = None) -> str:
        """Send an event; its id."""
        return self._sent("send", room, type, txn_id or self.new_txn_id(), body=content)

    def says(self, room: str, text: str, txn_id: str | None = None, **more: Json) -> str:
        """Send a text message; its id."""
        return self.sends(room, "m.room.message", {"msgtype": "m.text", "body": text, **more}, txn_id)

    def replies_in_thread(self, room: str, root: str, text: str) -> str:
        """Send a text message into the thread below a root; its id."""
        relation = {"rel_type": "m.thread", "event_id": root}
        return self.sends(room, "m.room.message", {"msgtype": "m.text", "body": text, "m.relates_to": relation})

    def edits(self, room: str, event: str, text: str) -> str:
        """Replace the text of a message; the id of the edit."""
        content = {"msgtype": "m.text", "body": text}
        relation = {"rel_type": "m.replace", "event_id": event}
        return self.sends(
            room, "m.room.message", {**content, "body": f"* {text}", "m.new_content": content, "m.relates_to": relation}
        )

    def reacts(self, room: str, event: str, key: str) -> str:
        """React to an event; the id of the reaction."""
        return self.sends(
            room, "m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": event, "key": key}}
        )

    def redacts(self, room: str, event: str, reason: str | None = None, txn_id: str | None = None) -> str:
        """Take an event back; the id of the redaction."""
        body = {} if reason is None else {"reason": reason}
        return self._sent("redact", room, event, txn_id or self.new_txn_id(), body=body)

    def sets_state(self, room: str, type: str, content: Json, state_key: str = "") -> str:
        """Set a part of the room's state; the id of the event."""
        return str(self.asks("PUT", "rooms", room, "state", type, state_key, body=content)["event_id"])

    def state(self, room: str, type: str, state_key: str = "") -> Json:
        """The content of a part of the room's state."""
        return self.asks("GET", "rooms", room, "state", type, state_key)

    def whole_state(self, room: str) -> Events:
        """The room's state."""
        return Events(self.asks("GET", "rooms", room, "state"))

    def event(self, room: str, event: str) -> Json:
        """One event."""
        return self.asks("GET", "rooms", room, "event", event)

    def messages(
        self, room: str, backwards: bool = True, *, start: str | None = None, **query: Json
    ) -> tuple[Events, Json]:
        """A page of the history, newest first unless told otherwise, and the whole answer; `start` is `from`."""
        query |= {"dir": "b" if backwards else "f", "from": start}
        answer = self.asks("GET", "rooms", room, "messages", **query)
        return Events(answer["chunk"]), answer

    def whole_history(self, room: str, backwards: bool = True, limit: int = 100) -> Events:
        """All pages of the history that this user may see."""
        found, answer = self.messages(room, backwards, limit=limit)
        while "end" in answer:
            page, answer = self.messages(room, backwards, limit=limit, start=answer["end"])
            found.extend(page)
        return found

    def context(self, room: str, event: str, **query: Json) -> Json:
        """An event and what is around it."""
        return self.asks("GET", "rooms", room, "context", event, **query)

    def members(self, room: str, **query: Json) -> dict[str, str]:
        """Each one's membership."""
        return Events(self.asks("GET", "rooms", room, "members", **query)["chunk"]).memberships

    def relations(self, room: str, event: str, *how: str, **query: Json) -> Events:
        """The events that refer to an event, newest first; `how` are a relation type and an event type."""
        answer = self.asks("GET", "rooms", room, "relations", event, *how, version="v1", **query)
        return Events(answer["chunk"])

    # What passes

    def reads(self, room: str, event: str, kind: str = "m.read", thread: str | None = None) -> None:
        """Say that everything up to an event is read."""
        body = {} if thread is None else {"thread_id": thread}
        assert self.asks("POST", "rooms", room, "receipt", kind, event, body=body) == {}

    def types(self, room: str, typing: bool = True, timeout_ms: int = 30_000) -> None:
        """Begin or end to type."""
        body = {"typing": typing, **({"timeout": timeout_ms} if typing else {})}
        assert self.asks("PUT", "rooms", room, "typing", self.user_id, body=body) == {}

    def keeps(self, type: str, content: Json, room: str | None = None) -> None:
        """Set account data, global or of a room."""
        where = ["user", self.user_id, *([] if room is None else ["rooms", room]), "account_data", type]
        assert self.asks("PUT", *where, body=content) == {}

    def kept(self, type: str, room: str | None = None) -> Json:
        """Account data."""
        where = ["user", self.user_id, *([] if room is None else ["rooms", room]), "account_data", type]
        return self.asks("GET", *where)

    def stores_filter(self, filter: Json) -> str:
        """Store a filter; its id."""
        return str(self.asks("POST", "user", self.user_id, "filter", body=filter)["filter_id"])

    # Following

    def sync(
        self,
        since: Synced | str | None = None,
        *,
        filter: Json = None,
        timeout_ms: int = 0,
        full_state: bool | None = None,
        use_state_after: bool | None = None,
        set_presence: str | None = "offline",
    ) -> Synced:
        """What has happened; without `since`: how things are.

        People do not show by it unless told to: the coming and going of others is not to wake those who wait for more.
        """
        return Synced(
            self.asks(
                "GET",
                "sync",
                since=since.next_batch if isinstance(since, Synced) else since,
                filter=filter,
                timeout=timeout_ms,
                full_state=full_state,
                use_state_after=use_state_after,
                set_presence=set_presence,
            )
        )

    def syncs_until(self, since: Synced | str, found: Callable[[Seen], bool], **how: Json) -> Seen:
        """Go on with /sync until it has told something; all answers up to then."""

        def answers() -> Iterator[Synced]:
            until_s = time.monotonic() + PATIENCE_S
            token = since
            while time.monotonic() < until_s:
                answer = self.sync(token, timeout_ms=LONG_POLL_MS, **how)
                token = answer
                yield answer

        return Seen.until(answers(), found)

    def _moves(self, how: str, room: str, who: Device, more: Json) -> None:
        assert self.asks("POST", "rooms", room, how, body={"user_id": who.user_id, **more}) == {}

    def _sent(self, how: str, room: str, *parts: str, body: Json) -> str:
        return str(self.asks("PUT", "rooms", room, how, *parts, body=body)["event_id"])


class Actor(Device):
    """A user with one device or more. The user acts on the first one; each is reached by its name, too."""

    def __init__(self, devices: Mapping[str, Device]) -> None:
        first = next(iter(devices.values()))
        super().__init__(first.wire, first.user_id, first.device_id, first.token)
        self.devices = {**devices, next(iter(devices)): cast(Device, self)}

    def __getattr__(self, name: str) -> Device:
        try:
            return cast(Device, self.__dict__["devices"][name])
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no {name}") from None

    @property
    def localpart(self) -> str:
        """The name before the colon."""
        return self.user_id[1:].partition(":")[0]


class Cast:
    """Makes people, whose names no other test uses, on one server."""

    def __init__(self, server: Homeserver) -> None:
        self.server = server
        self._mark = secrets.token_hex(4)

    def __call__(self, name: str, devices: Sequence[str] = ("device",), *, admin: bool = False) -> Actor:
        """Someone with an account, logged in on each of the devices."""
        first, *others = devices
        made = {first: registered(self.server, f"{name}-{self._mark}", admin)}
        for other in others:
            made[other] = logged_in(self.server.wire, made[first].user_id)
        return Actor(made)


def registered(server: Homeserver, localpart: str, admin: bool = False) -> Device:
    """Make an account with the shared secret, the way scripts do."""
    path = "/_synapse/admin/v1/register"
    nonce = server.wire.ask("GET", path).json["nonce"]
    proof = "\0".join([nonce, localpart, PASSWORD, "admin" if admin else "notadmin"])
    mac = hmac.new(server.shared_secret.encode(), proof.encode(), hashlib.sha1).hexdigest()
    body = {"nonce": nonce, "username": localpart, "password": PASSWORD, "admin": admin, "mac": mac}
    return _device(server.wire, server.wire.ask("POST", path, body), f"register {localpart}")


def logged_in(wire: Wire, user_id: str, device_id: str | None = None) -> Device:
    """Log in on a device, a new one unless told otherwise."""
    body: Json = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user_id}}
    body |= {"password": PASSWORD, **({} if device_id is None else {"device_id": device_id})}
    return _device(wire, wire.ask("POST", client_path("login"), body), f"log in {user_id}")


def _device(wire: Wire, answer: Response, asked: str) -> Device:
    if answer.status != 200:
        raise Refused(asked, answer)
    made = answer.json
    return Device(wire, made["user_id"], made["device_id"], made["access_token"])
