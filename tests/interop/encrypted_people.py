"""People with encrypting clients, matrix-nio: each on a server, with a folder for the keys of each device.

told([here, there], folder, story): the story gets a person on each of the servers, logged in on a phone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import nio
import pytest

from tests.cast import PASSWORD, Cast
from tests.servers import Homeserver

LONG_POLL_MS = 5_000
MOST_SYNCS = 20
ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}


class Person:
    """Someone with an encrypting client that keeps its keys in a folder."""

    def __init__(self, server: Homeserver, user_id: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = nio.AsyncClientConfig(store_sync_tokens=True, encryption_enabled=True)
        self.client = nio.AsyncClient(server.url, user_id, store_path=str(folder), config=config)
        self.heard: list[Any] = []
        self.client.add_event_callback(
            lambda _, event: self.heard.append(event), (nio.RoomMessageText, nio.MegolmEvent)
        )
        self.client.add_to_device_callback(self.heard.append, nio.KeyVerificationEvent)

    async def logs_in(self, device_name: str) -> Person:
        answer = await self.client.login(PASSWORD, device_name=device_name)
        assert isinstance(answer, nio.LoginResponse), answer
        await self.syncs(full_state=True)
        return self

    async def syncs(self, timeout_ms: int = 0, **how: Any) -> None:
        """One /sync, and all that the client wants to do after it."""
        answer = await self.client.sync(timeout=timeout_ms, **how)
        assert isinstance(answer, nio.SyncResponse), answer
        await self.client.send_to_device_messages()
        if self.client.should_upload_keys:
            assert isinstance(await self.client.keys_upload(), nio.KeysUploadResponse)
        if self.client.should_query_keys:
            assert isinstance(await self.client.keys_query(), nio.KeysQueryResponse)

    async def until(self, what: Callable[[Any], bool]) -> Any:
        """Sync until something fits among all that was heard; that something."""
        for _ in range(MOST_SYNCS):
            for event in self.heard:
                if what(event):
                    return event
            await self.syncs(LONG_POLL_MS)
        raise AssertionError(f"it was not heard: {self.heard}")

    async def reads(self, text: str) -> nio.RoomMessageText:
        """Wait for a decrypted message."""
        event = await self.until(lambda event: isinstance(event, nio.RoomMessageText) and event.body == text)
        assert event.decrypted
        return event

    async def says(self, room: str, text: str, *, to_unverified: bool = False) -> None:
        content = {"msgtype": "m.text", "body": text}
        answer = await self.client.room_send(room, "m.room.message", content, ignore_unverified_devices=to_unverified)
        assert isinstance(answer, nio.RoomSendResponse), answer

    def device_of(self, other: Person) -> Any:
        return self.client.device_store[other.client.user_id][other.client.device_id]


def told(servers: Sequence[Homeserver], folder: Path, story: Callable[[Person, Person], Awaitable[None]]) -> None:
    """Tell a story of two people, each on a server."""
    here, there = servers
    names = [(here, Cast(here)("romeo").user_id), (there, Cast(there)("juliet").user_id)]

    async def run() -> None:
        people = [Person(server, name, folder / name[1:6]) for server, name in names]
        try:
            await story(*[await person.logs_in("phone") for person in people])
        finally:
            for person in people:
                await person.client.close()

    asyncio.run(run())


async def together(romeo: Person, juliet: Person) -> str:
    """Both in an encrypted room, each with the other's devices."""
    made = await romeo.client.room_create(invite=[juliet.client.user_id], initial_state=[ENCRYPTION])
    assert isinstance(made, nio.RoomCreateResponse), made
    await juliet.syncs()
    assert isinstance(await juliet.client.join(made.room_id), nio.JoinResponse)
    for person, other in ((romeo, juliet), (juliet, romeo)):
        for _ in range(MOST_SYNCS):
            await person.syncs(1000)
            if other.client.device_id in person.client.device_store[other.client.user_id]:
                break
    return str(made.room_id)


async def verify(romeo: Person, juliet: Person) -> None:
    """Compare emoji."""
    await romeo.client.start_key_verification(romeo.device_of(juliet))
    start = await juliet.until(lambda event: isinstance(event, nio.KeyVerificationStart))
    assert isinstance(await juliet.client.accept_key_verification(start.transaction_id), nio.ToDeviceResponse)
    await romeo.until(lambda event: isinstance(event, nio.KeyVerificationAccept))
    await juliet.until(lambda event: isinstance(event, nio.KeyVerificationKey))
    await romeo.until(lambda event: isinstance(event, nio.KeyVerificationKey))
    emoji = [person.client.key_verifications[start.transaction_id].get_emoji() for person in (romeo, juliet)]
    assert emoji[0] == emoji[1]
    for person in (romeo, juliet):
        await person.client.confirm_short_auth_string(start.transaction_id)
    for person in (romeo, juliet):
        await person.until(lambda event: isinstance(event, nio.KeyVerificationMac))
        assert person.client.key_verifications[start.transaction_id].verified


async def verify_and_talk(romeo: Person, juliet: Person) -> None:
    """The story of two who trust each other only once they have compared emoji."""
    room = await together(romeo, juliet)
    with pytest.raises(nio.OlmUnverifiedDeviceError):
        await romeo.says(room, "who are you?")
    await verify(romeo, juliet)
    assert romeo.device_of(juliet).verified
    assert juliet.device_of(romeo).verified
    await romeo.says(room, "soft, what light")
    await juliet.reads("soft, what light")
    await juliet.says(room, "wherefore art thou")
    heard = await romeo.reads("wherefore art thou")
    assert heard.sender == juliet.client.user_id
