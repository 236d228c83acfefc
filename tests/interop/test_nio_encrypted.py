"""Two people with matrix-nio in an encrypted room: their clients do all the encrypting, the server knows no secret."""

from __future__ import annotations

from pathlib import Path

import nio
import pytest

from tests.interop.encrypted_people import MOST_SYNCS, Person, together, told, verify_and_talk
from tests.servers import Homeserver

pytestmark = pytest.mark.interop


def test_two_people_verify_each_other_and_talk_both_ways(homeserver: Homeserver, tmp_path: Path) -> None:
    told([homeserver, homeserver], tmp_path, verify_and_talk)


def test_a_new_device_gets_what_is_said_from_then_on(homeserver: Homeserver, tmp_path: Path) -> None:
    async def story(romeo: Person, juliet: Person) -> None:
        room = await together(romeo, juliet)
        await romeo.says(room, "before", to_unverified=True)
        await juliet.reads("before")
        tablet = await Person(homeserver, juliet.client.user_id, tmp_path / "tablet").logs_in("tablet")
        try:
            for _ in range(MOST_SYNCS):
                await romeo.syncs(1000)
                if tablet.client.device_id in romeo.client.device_store[juliet.client.user_id]:
                    break
            await romeo.says(room, "after", to_unverified=True)
            await tablet.reads("after")
            await juliet.reads("after")
            sealed = [event for event in tablet.heard if isinstance(event, nio.MegolmEvent)]
            assert len(sealed) == 1
        finally:
            await tablet.client.close()

    told([homeserver, homeserver], tmp_path, story)
