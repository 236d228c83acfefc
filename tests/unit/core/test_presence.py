"""What devices and activity say about a user's presence."""

from __future__ import annotations

import pytest

from homeserver.core.canonical_json import JsonObject
from homeserver.core.presence import (
    GRACE_S,
    IDLE_AFTER_S,
    NEVER,
    OFFLINE,
    ONLINE,
    UNAVAILABLE,
    DeviceSign,
    presence_of,
    read_updates,
)

NOW_S = 10_000.0


def waiting(says: str) -> DeviceSign:
    """A device with a request under way."""
    return DeviceSign(says, is_open=True, seen_s=0)


def seen(says: str, ago_s: float) -> DeviceSign:
    """A device whose last request ended so long ago."""
    return DeviceSign(says, is_open=False, seen_s=NOW_S - ago_s)


def test_a_user_without_devices_is_offline_for_ever() -> None:
    assert presence_of([], NOW_S, NOW_S) == (OFFLINE, NEVER)


@pytest.mark.parametrize("says", [ONLINE, UNAVAILABLE, OFFLINE])
def test_one_device_decides(says: str) -> None:
    assert presence_of([waiting(says)], NOW_S, NOW_S)[0] == says


@pytest.mark.parametrize("order", [1, -1])
def test_the_most_present_device_counts(order: int) -> None:
    devices = [waiting(OFFLINE), waiting(UNAVAILABLE), waiting(ONLINE)][::order]
    assert presence_of(devices, NOW_S, NOW_S)[0] == ONLINE
    assert presence_of([waiting(OFFLINE), waiting(UNAVAILABLE)][::order], NOW_S, NOW_S)[0] == UNAVAILABLE


def test_a_device_stays_for_the_time_of_grace_after_its_last_request() -> None:
    assert presence_of([seen(ONLINE, GRACE_S - 1)], NOW_S, NOW_S) == (ONLINE, NOW_S + 1)
    assert presence_of([seen(ONLINE, GRACE_S)], NOW_S, NOW_S) == (OFFLINE, NEVER)


def test_who_is_not_active_is_unavailable_after_a_while() -> None:
    assert presence_of([waiting(ONLINE)], NOW_S - IDLE_AFTER_S + 2, NOW_S) == (ONLINE, NOW_S + 2)
    assert presence_of([waiting(ONLINE)], NOW_S - IDLE_AFTER_S, NOW_S) == (UNAVAILABLE, NEVER)


def test_the_first_thing_that_may_change_is_told() -> None:
    devices = [seen(ONLINE, 10), waiting(UNAVAILABLE)]
    assert presence_of(devices, NOW_S, NOW_S) == (ONLINE, NOW_S + GRACE_S - 10)


SOUND: JsonObject = {"user_id": "@a:far", "presence": "online", "last_active_ago": 5000, "currently_active": True}


def test_updates_of_another_server_are_read() -> None:
    (update,) = read_updates({"push": [{**SOUND, "status_msg": "here"}]}, "far")
    assert (update.user_id, update.presence, update.active_ms_ago) == ("@a:far", ONLINE, 5000)
    assert (update.status_msg, update.currently_active) == ("here", True)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"push": None},
        {"push": ["online"]},
        {"push": [{**SOUND, "user_id": "@a:elsewhere"}]},
        {"push": [{**SOUND, "user_id": "@a:far:8448"}]},
        {"push": [{**SOUND, "user_id": 7}]},
        {"push": [{**SOUND, "presence": "busy"}]},
        {"push": [{**SOUND, "presence": []}]},
    ],
)
def test_what_is_unsound_or_of_a_third_server_is_passed_over(content: JsonObject) -> None:
    assert read_updates(content, "far") == []


def test_odd_details_do_not_spoil_an_update() -> None:
    odd: JsonObject = {**SOUND, "last_active_ago": "long", "status_msg": 7, "currently_active": 1}
    (update,) = read_updates({"push": [odd]}, "far")
    assert (update.active_ms_ago, update.status_msg, update.currently_active) == (0, None, False)
