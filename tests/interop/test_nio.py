"""Two people with matrix-nio, a client library, on a server begun with `./synctl start`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import nio
import pytest

from tests.integration.admin import Admin, hired, place_of_its_own

pytestmark = pytest.mark.interop

PASSWORD = "a password for tests"
LONG_POLL_MS = 10_000
MOST_SYNCS = 20


@pytest.fixture(scope="module")
def admin() -> Iterator[Admin]:
    """An admin with a running server on which anybody may register."""
    with place_of_its_own() as folder, hired(folder) as someone:
        settings = ("registration.enabled=true", "rate_limits.enabled=false", "passwords.memory=8K")
        made = someone.inits(*(word for setting in settings for word in ("--set", setting)))
        assert made.code == 0, made
        started = someone.says("start")
        assert started.code == 0, started
        yield someone
        stopped = someone.says("stop")
        assert stopped.code == 0, stopped


class Person:
    """Someone with a client, and what it has told them so far."""

    def __init__(self, url: str) -> None:
        self.client = nio.AsyncClient(url)
        self.events: list[tuple[str, Any]] = []
        self.client.add_event_callback(self._heard, nio.Event)
        self.client.add_ephemeral_callback(self._passed, nio.EphemeralEvent)

    @classmethod
    async def registered(cls, url: str, name: str) -> Person:
        """Make an account and log in with it."""
        person = cls(url)
        answer = await person.client.register(name, PASSWORD)
        assert isinstance(answer, nio.RegisterResponse), answer
        assert isinstance(await person.client.sync(timeout=0), nio.SyncResponse)
        return person

    async def until(self, what: Callable[[Any], bool]) -> Any:
        """Sync until something fits among all that was heard; that something."""
        for _ in range(MOST_SYNCS):
            for _, event in self.events:
                if what(event):
                    return event
            answer = await self.client.sync(timeout=LONG_POLL_MS)
            assert isinstance(answer, nio.SyncResponse), answer
        raise AssertionError(f"not among {self.events}")

    async def sends(self, room: str, type: str, content: dict[str, Any]) -> str:
        """Send an event; its id."""
        answer = await self.client.room_send(room, type, content)
        assert isinstance(answer, nio.RoomSendResponse), answer
        return str(answer.event_id)

    async def _heard(self, room: nio.MatrixRoom, event: nio.Event) -> None:
        self.events.append((room.room_id, event))

    async def _passed(self, room: nio.MatrixRoom, event: nio.EphemeralEvent) -> None:
        self.events.append((room.room_id, event))


def between(admin: Admin, story: Callable[[Person, Person, str], Awaitable[None]], suffix: str) -> None:
    """Two people in a room."""

    async def begin() -> None:
        romeo = await Person.registered(admin.url, f"romeo-{suffix}")
        juliet = await Person.registered(admin.url, f"juliet-{suffix}")
        try:
            made = await romeo.client.room_create(name="Balcony", invite=[juliet.client.user_id])
            assert isinstance(made, nio.RoomCreateResponse), made
            room = str(made.room_id)
            await juliet.client.sync(timeout=LONG_POLL_MS)
            assert room in juliet.client.invited_rooms
            joined = await juliet.client.join(room)
            assert isinstance(joined, nio.JoinResponse), joined
            await romeo.until(
                lambda event: isinstance(event, nio.RoomMemberEvent) and event.state_key == juliet.client.user_id
            )
            await juliet.client.sync(timeout=LONG_POLL_MS)
            await story(romeo, juliet, room)
        finally:
            await romeo.client.close()
            await juliet.client.close()

    asyncio.run(begin())


def test_two_people_chat_edit_react_and_redact(admin: Admin) -> None:
    async def story(romeo: Person, juliet: Person, room: str) -> None:
        assert juliet.client.rooms[room].display_name == "Balcony"
        text = {"msgtype": "m.text", "body": "But soft, what light"}
        sent = await romeo.sends(room, "m.room.message", text)
        heard = await juliet.until(lambda event: getattr(event, "event_id", "") == sent)
        assert isinstance(heard, nio.RoomMessageText)
        assert (heard.body, heard.sender) == (text["body"], romeo.client.user_id)

        replaced = {**text, "body": "It is the east"}
        relation = {"rel_type": "m.replace", "event_id": sent}
        edit = await romeo.sends(
            room, "m.room.message", {**replaced, "m.new_content": replaced, "m.relates_to": relation}
        )
        heard = await juliet.until(lambda event: getattr(event, "event_id", "") == edit)
        assert heard.source["content"]["m.new_content"]["body"] == "It is the east"

        relation = {"rel_type": "m.annotation", "event_id": sent, "key": "🌹"}
        reaction = await juliet.sends(room, "m.reaction", {"m.relates_to": relation})
        heard = await romeo.until(lambda event: getattr(event, "event_id", "") == reaction)
        assert (heard.reacts_to, heard.key) == (sent, "🌹")

        redacted = await romeo.client.room_redact(room, sent, "a mistake")
        assert isinstance(redacted, nio.RoomRedactResponse), redacted
        heard = await juliet.until(lambda event: isinstance(event, nio.RedactionEvent))
        assert (heard.redacts, heard.reason) == (sent, "a mistake")
        gone = await juliet.client.room_get_event(room, sent)
        assert isinstance(gone, nio.RoomGetEventResponse), gone
        assert isinstance(gone.event, nio.RedactedEvent)

        page = await juliet.client.room_messages(room, start="", limit=50)
        assert isinstance(page, nio.RoomMessagesResponse), page
        ids = [event.event_id for event in page.chunk]
        assert ids.index(redacted.event_id) < ids.index(reaction) < ids.index(edit) < ids.index(sent)

    between(admin, story, "chat")


def test_typing_and_receipts_pass_between_them(admin: Admin) -> None:
    async def story(romeo: Person, juliet: Person, room: str) -> None:
        typing = await juliet.client.room_typing(room, True)
        assert isinstance(typing, nio.RoomTypingResponse), typing
        await romeo.until(
            lambda event: isinstance(event, nio.TypingNoticeEvent) and juliet.client.user_id in event.users
        )
        sent = await romeo.sends(room, "m.room.message", {"msgtype": "m.text", "body": "She speaks"})
        await juliet.until(lambda event: getattr(event, "event_id", "") == sent)
        assert juliet.client.rooms[room].unread_notifications == 1
        marked = await juliet.client.room_read_markers(room, sent, sent)
        assert isinstance(marked, nio.RoomReadMarkersResponse), marked

        def is_read(event: Any) -> bool:
            return isinstance(event, nio.ReceiptEvent) and any(
                (receipt.event_id, receipt.user_id) == (sent, juliet.client.user_id) for receipt in event.receipts
            )

        await romeo.until(is_read)
        await juliet.until(is_read)
        assert juliet.client.rooms[room].unread_notifications == 0

    between(admin, story, "read")


def test_a_name_a_picture_and_a_device_are_managed(admin: Admin) -> None:
    async def story(romeo: Person, juliet: Person, room: str) -> None:
        named = await juliet.client.set_displayname("Juliet")
        assert isinstance(named, nio.ProfileSetDisplayNameResponse), named
        await romeo.until(
            lambda event: isinstance(event, nio.RoomMemberEvent) and event.content.get("displayname") == "Juliet"
        )
        assert romeo.client.rooms[room].user_name(juliet.client.user_id) == "Juliet"
        other = nio.AsyncClient(admin.url, juliet.client.user_id)
        try:
            logged_in = await other.login(PASSWORD, device_name="a phone")
            assert isinstance(logged_in, nio.LoginResponse), logged_in
            devices = await juliet.client.devices()
            assert isinstance(devices, nio.DevicesResponse), devices
            assert "a phone" in [device.display_name for device in devices.devices]
            assert isinstance(await other.logout(), nio.LogoutResponse)
        finally:
            await other.close()
        devices = await juliet.client.devices()
        assert "a phone" not in [device.display_name for device in devices.devices]

    between(admin, story, "name")
