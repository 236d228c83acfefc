"""Keys are published, looked up, and given out once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from threading import Event

import pytest

from homeserver.core.signatures import SigningKey
from tests.cast import Cast, Refused, logged_in, refused
from tests.key_ring import ALGORITHM, Identity, Keys, claimed_name, claims, queries, signed, uploads_identity
from tests.servers import MakeServer
from tests.wire import Json, client_path


def test_published_keys_are_found_with_the_name_of_their_device(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet", devices=["laptop", "phone"])
    laptop = Keys(juliet.laptop)
    keys = laptop.device_keys()
    assert laptop.uploads(device_keys=keys) == {ALGORITHM: 0}
    assert laptop.uploads(device_keys=keys, one_time_keys=laptop.one_time_keys(3)) == {ALGORITHM: 3}
    juliet.asks("PUT", "devices", juliet.device_id, body={"display_name": "balcony"})
    found = queries(romeo, juliet, romeo, f"@nobody:{juliet.user_id.partition(':')[2]}")
    assert found["failures"] == {}
    assert found["device_keys"] == {
        juliet.user_id: {juliet.device_id: {**keys, "unsigned": {"device_display_name": "balcony"}}},
        romeo.user_id: {},
    }
    one = romeo.asks("POST", "keys", "query", body={"device_keys": {juliet.user_id: [juliet.phone.device_id]}})
    assert one["device_keys"] == {juliet.user_id: {}}


def test_a_server_that_cannot_be_reached_is_a_failure_and_the_others_answer(cast: Cast) -> None:
    romeo = cast("romeo")
    keys = Keys(romeo).publishes(1)
    found = queries(romeo, romeo, "@mercutio:nowhere.invalid")
    assert list(found["failures"]) == ["nowhere.invalid"]
    assert found["device_keys"] == {romeo.user_id: {romeo.device_id: keys.device_keys()}}
    wanted = {"@mercutio:nowhere.invalid": {"X": ALGORITHM}, romeo.user_id: {romeo.device_id: ALGORITHM}}
    claimed = romeo.asks("POST", "keys", "claim", body={"one_time_keys": wanted})
    assert list(claimed["failures"]) == ["nowhere.invalid"]
    assert list(claimed["one_time_keys"]) == [romeo.user_id]
    with refused("M_INVALID_PARAM", 400):
        queries(romeo, "no user")


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        (lambda keys: {**keys, "user_id": "@other:example.org"}, "M_INVALID_PARAM"),
        (lambda keys: {**keys, "device_id": "OTHER"}, "M_INVALID_PARAM"),
        (lambda keys: {**keys, "keys": {**keys["keys"], "ed25519:OTHER": "x"}}, "M_INVALID_PARAM"),
        (lambda keys: {**keys, "algorithms": ["changed after signing"]}, "M_INVALID_SIGNATURE"),
        (lambda keys: {**keys, "signatures": {}}, "M_INVALID_SIGNATURE"),
        (lambda keys: {k: v for k, v in keys.items() if k != "signatures"}, "M_BAD_JSON"),
        (lambda keys: {**keys, "algorithms": "none"}, "M_BAD_JSON"),
        (lambda keys: {**keys, "keys": {}}, "M_BAD_JSON"),
        (lambda keys: {**keys, "more": 0.5}, "M_BAD_JSON"),
        (lambda keys: {**keys, "more": 2**60}, "M_BAD_JSON"),
        (lambda keys: [], "M_BAD_JSON"),
    ],
)
def test_device_keys_that_are_not_in_order_are_refused(
    cast: Cast, change: Callable[[Json], Json], errcode: str
) -> None:
    keys = Keys(cast("tybalt"))
    with refused(errcode, 400):
        keys.uploads(device_keys=change(keys.device_keys()))
    assert queries(keys.device, keys.device)["device_keys"] == {keys.device.user_id: {}}


def test_the_identity_of_a_device_does_not_change(cast: Cast) -> None:
    keys = Keys(cast("romeo")).publishes()
    with refused("M_UNKNOWN", 400):
        Keys(keys.device).publishes()
    keys.uploads(device_keys=keys.device_keys(algorithms=["m.olm.v1.curve25519-aes-sha2"]))
    found = queries(keys.device, keys.device)["device_keys"][keys.device.user_id][keys.device.device_id]
    assert found["algorithms"] == ["m.olm.v1.curve25519-aes-sha2"]


def test_one_time_keys_that_are_not_in_order_are_refused_and_none_of_them_is_kept(cast: Cast) -> None:
    keys = Keys(cast("romeo"))
    with refused("M_INVALID_SIGNATURE", 400):
        keys.uploads(one_time_keys=keys.one_time_keys(1))
    keys.publishes()
    good = keys.one_time_keys(1)
    stranger = Keys(keys.device)
    for name, bad, errcode in (
        (f"{ALGORITHM}:x", stranger.one_time_key(), "M_INVALID_SIGNATURE"),
        (f"{ALGORITHM}:x", {"key": "unsigned"}, "M_INVALID_SIGNATURE"),
        (f"{ALGORITHM}:x", "unsigned", "M_BAD_JSON"),
        (f"{ALGORITHM}:x", 1, "M_BAD_JSON"),
        ("nameless", "key", "M_BAD_JSON"),
        (f"{ALGORITHM}:x", {**keys.one_time_key(), "big": 2**60}, "M_BAD_JSON"),
    ):
        with refused(errcode, 400):
            keys.uploads(one_time_keys={**good, name: bad})
        with refused(errcode, 400):
            keys.uploads(fallback_keys={name: bad})
    assert keys.uploads() == {ALGORITHM: 0}
    with refused("M_INVALID_PARAM", 400):
        keys.uploads(fallback_keys={**keys.fallback_key(), **keys.fallback_key()})


def test_a_key_id_stands_for_one_key(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    keys = Keys(romeo).publishes()
    first = keys.one_time_keys(1)
    name = next(iter(first))
    assert keys.uploads(one_time_keys=first) == {ALGORITHM: 1}
    assert keys.uploads(one_time_keys=first) == {ALGORITHM: 1}
    with refused("M_UNKNOWN", 400):
        keys.uploads(one_time_keys={name: keys.one_time_key()})
    assert claims(juliet, romeo)[romeo.user_id][romeo.device_id] == first
    # The answer to an upload was lost, and the client repeats it: the key is given away all the same.
    assert keys.uploads(one_time_keys=first) == {ALGORITHM: 0}
    assert claimed_name(juliet, romeo) is None


def test_first_uploads_that_come_at_once_are_all_kept(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet", devices=["laptop"])
    laptop = Keys(juliet.laptop)
    identity, parts = laptop.device_keys(), [laptop.one_time_keys(7) for _ in range(8)]
    with ThreadPoolExecutor(len(parts)) as at_once:
        list(at_once.map(lambda part: laptop.uploads(device_keys=identity, one_time_keys=part), parts))
    assert laptop.uploads() == {ALGORITHM: 56}
    names = {claimed_name(romeo, juliet) for _ in range(57)}
    assert names == {name for part in parts for name in part} | {None}


def test_a_first_upload_that_is_refused_leaves_the_way_free_for_the_second(cast: Cast) -> None:
    romeo = cast("romeo")
    keys = Keys(romeo)
    good = keys.one_time_keys(8)
    bad = {**good, f"{ALGORITHM}:BAD": {**keys.one_time_key(), "key": "another"}}
    with refused("M_INVALID_SIGNATURE", 400):
        keys.uploads(device_keys=keys.device_keys(), one_time_keys=bad)
    assert queries(romeo, romeo)["device_keys"] == {romeo.user_id: {}}
    assert keys.uploads(device_keys=keys.device_keys(), one_time_keys=good) == {ALGORITHM: 8}
    with refused("M_UNKNOWN", 400):
        keys.uploads(device_keys=Keys(romeo).device_keys())


def test_keys_are_given_out_in_the_order_of_their_upload_and_then_the_fallback_key(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    keys = Keys(romeo).publishes()
    uploaded = [keys.one_time_keys(1) for _ in range(4)]
    # Neither the order of names nor that of an object counts.
    for each in reversed(uploaded):
        keys.uploads(one_time_keys=each)
    fallback = keys.fallback_key()
    keys.uploads(fallback_keys=fallback)
    assert romeo.sync().answer["device_unused_fallback_key_types"] == [ALGORITHM]
    names = [claimed_name(juliet, romeo) for _ in range(6)]
    assert names == [next(iter(each)) for each in reversed(uploaded)] + [next(iter(fallback))] * 2
    assert romeo.sync().answer["device_unused_fallback_key_types"] == []
    keys.uploads(fallback_keys=fallback)
    assert romeo.sync().answer["device_unused_fallback_key_types"] == []
    keys.uploads(fallback_keys=keys.fallback_key())
    assert romeo.sync().answer["device_unused_fallback_key_types"] == [ALGORITHM]
    assert claims(juliet, romeo, algorithm="other") == {}


def test_no_key_is_given_out_twice_to_fifty_at_once(cast: Cast) -> None:
    romeo = cast("romeo", devices=["one", "two", "three"])
    rings = [Keys(device).publishes() for device in romeo.devices.values()]
    uploaded = {name for ring in rings for name in _prefixed(ring, ring.one_time_keys(20))}
    others = [logged_in(romeo.wire, romeo.user_id) for _ in range(5)]
    wanted = {romeo.user_id: {ring.device.device_id: ALGORITHM for ring in rings}}

    def claim(number: int) -> list[str]:
        answer = others[number % 5].asks("POST", "keys", "claim", body={"one_time_keys": wanted})["one_time_keys"]
        return [f"{device}/{name}" for device, keys in answer.get(romeo.user_id, {}).items() for name in keys]

    with ThreadPoolExecutor(50) as pool:
        given = [name for names in pool.map(claim, range(50)) for name in names]
    assert len(given) == len(set(given))
    assert set(given) == uploaded


def test_no_key_is_given_out_again_after_a_crash(make_server: MakeServer) -> None:
    server = make_server(rate_limits={"enabled": False})
    romeo, juliet = Cast(server)("romeo"), Cast(server)("juliet")
    keys = Keys(romeo).publishes(10)
    before = {claimed_name(juliet, romeo) for _ in range(4)}
    server.kill()
    server.start()
    after = [claimed_name(juliet, romeo) for _ in range(6)]
    assert len(before | set(after)) == 10
    assert claimed_name(juliet, romeo) is None
    assert keys.uploads() == {ALGORITHM: 0}


def test_no_key_is_given_out_twice_though_the_server_is_killed_while_many_claim(make_server: MakeServer) -> None:
    server = make_server(rate_limits={"enabled": False})
    romeo, juliet = Cast(server)("romeo"), Cast(server)("juliet")
    keys = Keys(romeo).publishes()
    uploaded: list[str] = []
    for _ in range(8):
        batch = keys.one_time_keys(50)
        keys.uploads(one_time_keys=batch)
        uploaded += batch
    claimers, enough = 8, Event()
    given: list[str] = []

    def claims_until_nobody_answers() -> None:
        while True:
            try:
                name = claimed_name(juliet, romeo)
            except (OSError, HTTPException, Refused):
                return
            assert name is not None, "the server was to be killed before all keys are gone"
            given.append(name)
            if len(given) >= 60:
                enough.set()

    with ThreadPoolExecutor(claimers) as pool:
        claiming = [pool.submit(claims_until_nobody_answers) for _ in range(claimers)]
        assert enough.wait(60)
        server.kill()
        for each in claiming:
            each.result(timeout=60)
    server.start()
    rest: list[str] = []
    while (name := claimed_name(juliet, romeo)) is not None:
        rest.append(name)
    assert len(set(given + rest)) == len(given + rest)
    # Those that were left are the last ones that were uploaded; no more are lost than answers were on their way.
    assert rest == uploaded[len(uploaded) - len(rest) :]
    assert set(given + rest) <= set(uploaded)
    assert len(uploaded) - len(given + rest) <= claimers


def test_every_answer_of_sync_tells_how_many_keys_are_left(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    start = romeo.sync()
    assert start.answer["device_one_time_keys_count"] == {ALGORITHM: 0}
    assert start.answer["device_unused_fallback_key_types"] == []
    keys = Keys(romeo).publishes(2)
    assert romeo.sync().answer["device_one_time_keys_count"] == {ALGORITHM: 2}
    claims(juliet, romeo)
    later = romeo.sync(romeo.sync())
    assert later.answer["device_one_time_keys_count"] == {ALGORITHM: 1}
    keys.uploads(one_time_keys=keys.one_time_keys(1), fallback_keys=keys.fallback_key())
    later = romeo.sync(later)
    assert later.answer["device_one_time_keys_count"] == {ALGORITHM: 2}
    # Clients that are told nothing go on with the last count that they know.
    assert len({claimed_name(juliet, romeo) for _ in range(2)}) == 2
    assert romeo.sync(later).answer["device_one_time_keys_count"] == {ALGORITHM: 0}


def test_a_client_that_waits_hears_at_once_that_its_fallback_key_was_used(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    keys = Keys(romeo).publishes()
    keys.uploads(fallback_keys=keys.fallback_key())
    start = romeo.sync()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(romeo.sync, start, timeout_ms=20_000)
        claims(juliet, romeo)
        # With the longest wait this comes because of the claim, not because the time is over.
        assert waiting.result(timeout=15).answer["device_unused_fallback_key_types"] == []


def test_keys_go_with_their_device(cast: Cast) -> None:
    juliet, romeo = cast("juliet", devices=["laptop", "phone"]), cast("romeo")
    Keys(juliet.phone).publishes(2)
    assert juliet.phone.device_id in queries(romeo, juliet)["device_keys"][juliet.user_id]
    juliet.phone.asks("POST", "logout")
    assert queries(romeo, juliet)["device_keys"] == {juliet.user_id: {}}
    assert claims(romeo, juliet.phone) == {}


def test_a_device_cannot_be_called_like_a_cross_signing_key(cast: Cast) -> None:
    romeo = cast("romeo")
    identity = Identity(romeo.user_id)
    uploads_identity(romeo, identity.keys())
    twin = Keys(logged_in(romeo.wire, romeo.user_id, identity.master.verify_key_base64))
    with refused("M_FORBIDDEN", 403):
        twin.publishes()


def test_signatures_of_others_in_an_upload_are_left_out(cast: Cast) -> None:
    romeo = cast("romeo")
    keys = Keys(romeo)
    own = keys.device_keys()
    foreign = signed(own, "@eve:example.org", "ed25519:EVE", SigningKey.generate("k"))
    keys.uploads(device_keys={**foreign, "unsigned": {"device_display_name": "a lie"}})
    assert queries(romeo, romeo)["device_keys"][romeo.user_id][romeo.device_id] == own


def test_requests_that_make_no_sense_are_refused(cast: Cast) -> None:
    romeo = cast("romeo")
    for path, body, errcode in (
        ("query", {}, "M_MISSING_PARAM"),
        ("query", {"device_keys": {romeo.user_id: "x"}}, "M_BAD_JSON"),
        ("claim", {}, "M_MISSING_PARAM"),
        ("claim", {"one_time_keys": {romeo.user_id: {"X": 1}}}, "M_BAD_JSON"),
        ("upload", {"one_time_keys": []}, "M_BAD_JSON"),
    ):
        with refused(errcode, 400):
            romeo.asks("POST", "keys", path, body=body)
    assert romeo.wire.ask("POST", client_path("keys", "query"), {"device_keys": {}}).status == 401


def _prefixed(ring: Keys, keys: Json) -> list[str]:
    ring.uploads(one_time_keys=keys)
    return [f"{ring.device.device_id}/{name}" for name in keys]
