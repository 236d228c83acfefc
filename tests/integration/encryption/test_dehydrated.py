"""A device that sleeps takes messages until a client of its user wakes it."""

from __future__ import annotations

from tests.cast import Cast, Device, Refused, refused
from tests.key_ring import ALGORITHM, Keys, changed, claims, queries
from tests.wire import Json

PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"


def asks(device: Device, method: str, path: str = "", body: Json = None) -> Json:
    answer = device.call(method, PATH + path, body)
    if answer.status != 200:
        raise Refused(f"{device}: {method} {path}", answer)
    return answer.json


def sleeper(owner: Device, device_id: str) -> Keys:
    """The keys of a device that has no session."""
    return Keys(Device(owner.wire, owner.user_id, device_id, ""))


def sleeps(owner: Device, keys: Keys, data: Json, **more: Json) -> str:
    body = {
        "device_id": keys.device.device_id,
        "device_data": data,
        "device_keys": keys.device_keys(dehydrated=True),
        "initial_device_display_name": "asleep",
        **more,
    }
    return str(asks(owner, "PUT", body=body)["device_id"])


def test_messages_wait_for_a_sleeping_device_page_by_page(cast: Cast) -> None:
    juliet, romeo = cast("juliet"), cast("romeo")
    keys = sleeper(juliet, "SLEEPER")
    data = {"algorithm": "m.dehydration.v2", "pickle": "x"}
    assert (
        sleeps(juliet, keys, data, one_time_keys=keys.one_time_keys(1), fallback_keys=keys.fallback_key()) == "SLEEPER"
    )
    assert asks(juliet, "GET") == {"device_id": "SLEEPER", "device_data": data}
    found = queries(romeo, juliet)["device_keys"][juliet.user_id]["SLEEPER"]
    assert found == {**keys.device_keys(dehydrated=True), "unsigned": {"device_display_name": "asleep"}}
    assert len(claims(romeo, keys.device)) == len(claims(romeo, keys.device)) == 1
    for number in range(5):
        messages = {juliet.user_id: {"SLEEPER": {"n": number}}}
        romeo.asks("PUT", "sendToDevice", "m.test", f"{number}", body={"messages": messages})
    seen: list[int] = []
    page = asks(juliet, "GET", "/SLEEPER/events?limit=2")
    while page["events"]:
        assert len(page["events"]) <= 2
        seen += [event["content"]["n"] for event in page["events"]]
        page = asks(juliet, "GET", f"/SLEEPER/events?limit=2&next_batch={page['next_batch']}")
    assert seen == list(range(5))
    assert len(asks(juliet, "POST", "/SLEEPER/events", {})["events"]) == 5
    assert juliet.sync().to_device == []
    with refused("M_NOT_FOUND", 404):
        asks(romeo, "GET", "/SLEEPER/events")
    assert asks(juliet, "DELETE") == {"device_id": "SLEEPER"}
    for call in ("GET", "DELETE"):
        with refused("M_NOT_FOUND", 404):
            asks(juliet, call)
    assert queries(romeo, juliet)["device_keys"] == {juliet.user_id: {}}


def test_a_new_sleeper_takes_the_place_of_the_one_before_and_others_hear_of_it(cast: Cast) -> None:
    juliet, romeo = cast("juliet"), cast("romeo")
    juliet.joins(romeo.creates_room(preset="public_chat"))
    at = romeo.sync()
    sleeps(juliet, sleeper(juliet, "ONE"), {"n": 1})
    at = romeo.sync(at)
    assert changed(at.answer) == [juliet.user_id]
    sleeps(juliet, sleeper(juliet, "TWO"), {"n": 2})
    again = sleeper(juliet, "TWO")
    sleeps(juliet, again, {"n": 3})
    assert asks(juliet, "GET") == {"device_id": "TWO", "device_data": {"n": 3}}
    found = queries(romeo, juliet)["device_keys"][juliet.user_id]
    assert list(found) == ["TWO"]
    assert found["TWO"]["keys"] == again.device_keys()["keys"]
    assert changed(romeo.sync(at).answer) == [juliet.user_id]


def test_what_makes_no_sleeper_is_refused(cast: Cast) -> None:
    juliet = cast("juliet")
    with refused("M_FORBIDDEN", 403):
        sleeps(juliet, Keys(juliet), {})
    keys = sleeper(juliet, "OTHER")
    with refused("M_INVALID_PARAM", 400):
        sleeps(juliet, keys, {}, device_id="ANOTHER")
    with refused("M_INVALID_SIGNATURE", 400):
        sleeps(juliet, keys, {}, device_keys={**keys.device_keys(), "algorithms": []})
    with refused("M_INVALID_SIGNATURE", 400):
        sleeps(juliet, keys, {}, one_time_keys={f"{ALGORITHM}:x": {"key": "x"}})
    with refused("M_MISSING_PARAM", 400):
        asks(juliet, "PUT", body={"device_id": "X", "device_data": {}})
    with refused("M_NOT_FOUND", 404):
        asks(juliet, "GET")
