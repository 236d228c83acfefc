"""What must cross exactly once between servers does so, also when both are killed; and it comes as it was sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from federation.outbound.device_messages import MAX_MESSAGE_ID
from tests.cast import Actor, Device, logged_in
from tests.federated import Federated, MakeFederated
from tests.key_ring import ALGORITHM, Identity, Keys, queries, uploads_identity
from tests.persistence import killed_now_and_then, numbers, persistently, sends_all
from tests.stranger import PREFIX, Stranger
from tests.wire import Json

Pair = tuple[Federated, Federated]
MESSAGES = 80


def test_each_message_to_a_device_comes_once_and_in_order_though_both_servers_are_killed(
    make_federated: MakeFederated,
) -> None:
    quick: Json = {"rate_limits": {"enabled": False}}
    here, there = make_federated(**quick), make_federated(**quick)
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    at: Json = juliet.sync()
    with killed_now_and_then([here, there], times=4, seed=3), sends_all(romeo, juliet, MESSAGES):
        got: list[int] = []
        while len(got) < MESSAGES:
            at = persistently(lambda since: juliet.sync(since, timeout_ms=300), at)
            got += numbers(at)
    assert got == list(range(MESSAGES))
    assert numbers(persistently(juliet.sync, at)) == []


def test_no_one_time_key_is_given_to_people_of_two_servers(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    keys = Keys(romeo)
    uploaded = keys.one_time_keys(30)
    keys.uploads(device_keys=keys.device_keys(), one_time_keys=uploaded)
    wanted = {romeo.user_id: {romeo.device_id: ALGORITHM}}
    claimers: list[Device] = [logged_in(who.wire, who.user_id) for who in (romeo, juliet) for _ in range(3)]

    def claim(number: int) -> list[str]:
        answer = claimers[number % 6].asks("POST", "keys", "claim", body={"one_time_keys": wanted})
        assert answer["failures"] == {}
        return list(answer["one_time_keys"].get(romeo.user_id, {}).get(romeo.device_id, {}))

    with ThreadPoolExecutor(6) as pool:
        given = [name for names in pool.map(claim, range(36)) for name in names]
    assert len(given) == len(set(given))
    assert set(given) == set(uploaded)


def test_messages_to_devices_may_hold_what_cannot_be_signed(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    since = juliet.sync()
    content: Json = {"half": 0.5, "big": 2**60, "text": "ö\u2028\0", "deep": {"list": [None, True, []]}}
    messages = {juliet.user_id: {juliet.device_id: content}}
    romeo.asks("PUT", "sendToDevice", "m.test", "x" * MAX_MESSAGE_ID, body={"messages": messages})
    seen = juliet.syncs_until(since, lambda seen: bool(seen.last.to_device))
    assert [event["content"] for event in seen.last.to_device] == [content]


def test_other_servers_see_no_user_signing_key_and_no_signature_of_one_user_on_another(
    pair: Pair, stranger: Stranger
) -> None:
    here, _ = pair
    romeo, juliet = here.cast("romeo"), here.cast("juliet")
    his, hers = Identity(romeo.user_id), Identity(juliet.user_id)
    keys = Keys(juliet).publishes()
    for who, identity in ((romeo, his), (juliet, hers)):
        uploads_identity(who, identity.keys())
    _signs(juliet, juliet.user_id, juliet.device_id, hers.signs_device(keys.device_keys()))
    _signs(romeo, juliet.user_id, hers.master.verify_key_base64, his.signs_user(hers.master_key()))
    body: Json = {"device_keys": {juliet.user_id: [], "@else:where.example": []}}
    status, found = stranger.asks(here.server_name, "POST", f"{PREFIX}user/keys/query", body)
    assert status == 200
    assert found == {
        "device_keys": {juliet.user_id: {juliet.device_id: hers.signs_device(keys.device_keys())}},
        "master_keys": {juliet.user_id: hers.master_key()},
        "self_signing_keys": {juliet.user_id: hers.keys()["self_signing_key"]},
    }
    _, listed = stranger.reads(here.server_name, "user", "devices", juliet.user_id)
    assert listed["master_key"] == hers.master_key()
    assert "user_signing_key" not in listed


def test_keys_that_cannot_be_signed_are_not_taken_from_other_servers(pair: Pair, stranger: Stranger) -> None:
    here, _ = pair
    romeo = here.cast("romeo")
    benvolio = stranger.user("benvolio")
    room = romeo.creates_room(preset="public_chat")
    stranger.joins(here.server_name, room, benvolio)
    good: Json = {"user_id": benvolio, "device_id": "PHONE", "algorithms": [], "keys": {}, "signatures": {}}
    devices = [
        {"device_id": "PHONE", "keys": good},
        {"device_id": "ODD", "keys": {**good, "device_id": "ODD", "x": 0.5}},
    ]
    answer: Json = {"user_id": benvolio, "stream_id": 1, "devices": devices}
    answer["master_key"] = {**Identity(benvolio).master_key(), "x": 2**60}
    stranger.answers["user/devices/"] = lambda _: answer
    found = queries(romeo, benvolio)
    assert found["device_keys"] == {benvolio: {"PHONE": good}}
    assert found["master_keys"] == {}
    update: Json = {"user_id": benvolio, "device_id": "PHONE", "stream_id": 2, "prev_id": [1]}
    update["keys"] = {**good, "x": 2**60}
    since = romeo.sync()
    stranger.sends(here.server_name, edus=[{"edu_type": "m.device_list_update", "content": update}])
    romeo.syncs_until(since, lambda seen: "device_lists" in seen.last.answer)
    assert queries(romeo, benvolio)["device_keys"] == {benvolio: {}}


def _signs(who: Actor, target: str, key_id: str, value: Json) -> None:
    answer = who.asks("POST", "keys", "signatures", "upload", body={target: {key_id: value}})
    assert answer["failures"] == {}
