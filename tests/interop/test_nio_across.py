"""People with matrix-nio in encrypted rooms whose servers are two: both Myelin, or one of them Synapse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nio
import pytest

from tests.cast import Device
from tests.interop.encrypted_people import MOST_SYNCS, Person, together, told, verify, verify_and_talk
from tests.key_ring import queries
from tests.servers import Homeserver

pytestmark = pytest.mark.interop

ROTATE_AFTER = 3


def test_two_people_verify_each_other_and_talk_both_ways(ends: Sequence[Homeserver], tmp_path: Path) -> None:
    told(ends, tmp_path, verify_and_talk)


def test_who_came_by_invite_can_be_the_one_who_begins_to_verify(ends: Sequence[Homeserver], tmp_path: Path) -> None:
    async def story(romeo: Person, juliet: Person) -> None:
        room = await together(romeo, juliet)
        await verify(juliet, romeo)
        await juliet.says(room, "thou know'st the mask of night is on my face")
        await romeo.reads("thou know'st the mask of night is on my face")

    told(ends, tmp_path, story)


def test_sessions_rotate_and_each_new_one_is_read(ends: Sequence[Homeserver], tmp_path: Path) -> None:
    async def story(romeo: Person, juliet: Person) -> None:
        room = await together(romeo, juliet)
        for speaker, listener in ((romeo, juliet), (juliet, romeo)):
            sessions = []
            for number in range(3 * ROTATE_AFTER):
                text = f"{speaker.client.user_id} {number}"
                await speaker.says(room, text, to_unverified=True)
                speaker.client.olm.outbound_group_sessions[room].max_messages = ROTATE_AFTER
                sessions.append((await listener.reads(text)).session_id)
            assert [sessions.count(each) for each in dict.fromkeys(sessions)] == [ROTATE_AFTER] * 3

    told(ends, tmp_path, story)


def test_who_logs_out_and_in_is_another_device_and_the_old_one_is_gone(
    ends: Sequence[Homeserver], tmp_path: Path
) -> None:
    async def story(romeo: Person, juliet: Person) -> None:
        room = await together(romeo, juliet)
        await romeo.says(room, "before", to_unverified=True)
        await juliet.reads("before")
        old = juliet.client.device_id
        assert isinstance(await juliet.client.logout(), nio.LogoutResponse)
        again = await Person(ends[1], juliet.client.user_id, tmp_path / "again").logs_in("phone")
        new = again.client.device_id
        assert new != old
        try:
            for _ in range(MOST_SYNCS):
                await romeo.syncs(1000)
                if [each.id for each in romeo.client.device_store.active_user_devices(again.client.user_id)] == [new]:
                    break
            his = Device(ends[0].wire, romeo.client.user_id, romeo.client.device_id, romeo.client.access_token)
            assert set(queries(his, again.client.user_id)["device_keys"][again.client.user_id]) == {new}
            own = {each.id for each in (await again.client.devices()).devices}
            assert new in own
            assert old not in own
            await romeo.says(room, "after", to_unverified=True)
            await again.reads("after")
            sealed = [event for event in again.heard if isinstance(event, nio.MegolmEvent)]
            assert len(sealed) == 1
            await again.says(room, "I am here", to_unverified=True)
            await romeo.reads("I am here")
            await verify(romeo, again)
        finally:
            await again.client.close()

    told(ends, tmp_path, story)
