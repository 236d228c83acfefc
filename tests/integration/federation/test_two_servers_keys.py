"""Keys across servers: looked up, followed, claimed, signed; also when the other server was away."""

from __future__ import annotations

import random

import pytest

from tests.cast import Device, logged_in
from tests.federated import Federated, MakeFederated, joins_through
from tests.key_ring import ALGORITHM, Identity, Keys, changed, claims, left, queries, uploads_identity
from tests.sync_answer import Seen
from tests.wire import Json

Pair = tuple[Federated, Federated]


def hears(reader: Device, since: Json, whom: Device) -> Seen:
    """Sync until the keys of somebody have changed."""
    return reader.syncs_until(since, lambda seen: whom.user_id in changed(seen.last.answer))


def shown(reader: Device, whom: Device) -> Json:
    """What a reader sees of the keys of somebody."""
    found = queries(reader, whom)
    assert found["failures"] == {}
    return [found[part].get(whom.user_id) for part in ("device_keys", "master_keys", "self_signing_keys")]


def test_a_new_device_and_new_keys_are_heard_of_on_the_other_server(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    romeo.syncs_until(romeo.sync(), lambda _: juliet.user_id in romeo.members(room))
    since = romeo.sync()
    keys = Keys(juliet).publishes(2)
    at = hears(romeo, since, juliet).last
    assert shown(romeo, juliet)[0] == {juliet.device_id: keys.device_keys()}
    assert len(claims(romeo, juliet)) == 1
    assert keys.uploads() == {ALGORITHM: 1}
    identity = Identity(juliet.user_id)
    uploads_identity(juliet, identity.keys())
    at = hears(romeo, at, juliet).last
    assert shown(romeo, juliet)[1:] == [identity.master_key(), identity.keys()["self_signing_key"]]
    signed = identity.signs_device(keys.device_keys())
    uploaded = juliet.asks("POST", "keys", "signatures", "upload", body={juliet.user_id: {juliet.device_id: signed}})
    assert uploaded["failures"] == {}
    at = hears(romeo, at, juliet).last
    assert shown(romeo, juliet)[0] == {juliet.device_id: signed}
    second = logged_in(juliet.wire, juliet.user_id)
    Keys(second).publishes()
    at = hears(romeo, at, juliet).last
    assert set(shown(romeo, juliet)[0]) == {juliet.device_id, second.device_id}
    second.asks("POST", "logout")
    hears(romeo, at, juliet)
    assert set(shown(romeo, juliet)[0]) == {juliet.device_id}


def test_a_user_of_another_server_can_be_verified_and_only_the_signer_sees_it(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    his, hers = Identity(romeo.user_id), Identity(juliet.user_id)
    uploads_identity(romeo, his.keys())
    uploads_identity(juliet, hers.keys())
    verified = his.signs_user(hers.master_key())
    body = {juliet.user_id: {hers.master.verify_key_base64: verified}}
    assert romeo.asks("POST", "keys", "signatures", "upload", body=body)["failures"] == {}
    assert shown(romeo, juliet)[1] == verified
    assert shown(juliet, juliet)[1] == hers.master_key()


def test_a_key_that_its_user_has_no_more_is_forgotten_on_the_other_server(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    since = romeo.sync()
    joins_through(juliet, room, here)
    at = hears(romeo, since, juliet).last
    for _ in range(2):
        identity = Identity(juliet.user_id)
        uploads_identity(juliet, identity.keys(), confirming=bool(queries(juliet, juliet)["master_keys"]))
        at = hears(romeo, at, juliet).last
        assert shown(romeo, juliet)[1:] == [identity.master_key(), identity.keys()["self_signing_key"]]
        # Another master key makes void what the one before has signed.
        alone = Identity(juliet.user_id).master_key()
        uploads_identity(juliet, {"master_key": alone}, confirming=True)
        at = hears(romeo, at, juliet).last
        assert shown(romeo, juliet)[1:] == [alone, None]
    # The same where the list is read anew.
    juliet.leaves(room)
    romeo.syncs_until(at, lambda seen: juliet.user_id in left(seen.last.answer))
    uploads_identity(juliet, Identity(juliet.user_id).keys(), confirming=True)
    uploads_identity(juliet, {"master_key": alone}, confirming=True)
    joins_through(juliet, room, here)
    assert shown(romeo, juliet)[1:] == [alone, None]


def test_who_shares_no_room_any_more_is_verified_by_the_keys_that_they_have_now(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    his, before, now = Identity(romeo.user_id), Identity(juliet.user_id), Identity(juliet.user_id)
    uploads_identity(romeo, his.keys())
    uploads_identity(juliet, before.keys())
    since = romeo.sync()
    joins_through(juliet, room, here)
    at = hears(romeo, since, juliet).last
    assert shown(romeo, juliet)[1] == before.master_key()
    juliet.leaves(room)
    romeo.syncs_until(at, lambda seen: juliet.user_id in left(seen.last.answer))
    uploads_identity(juliet, now.keys(), confirming=True)
    body = {juliet.user_id: {now.master.verify_key_base64: his.signs_user(now.master_key())}}
    assert romeo.asks("POST", "keys", "signatures", "upload", body=body)["failures"] == {}
    assert shown(romeo, juliet)[1] == his.signs_user(now.master_key())


@pytest.mark.parametrize("seed", range(1))
def test_a_server_that_was_away_ends_with_the_lists_of_the_other(make_federated: MakeFederated, seed: int) -> None:
    quick: Json = {"rate_limits": {"enabled": False}}
    here, there = make_federated(**quick), make_federated(**quick)
    rng = random.Random(seed)
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    romeo.syncs_until(romeo.sync(), lambda _: juliet.user_id in romeo.members(room))
    since = romeo.sync()
    Keys(juliet).publishes()
    hears(romeo, since, juliet)
    assert shown(romeo, juliet) == shown(juliet, juliet)
    devices: list[Device] = []
    is_here = True
    for _ in range(12):
        if rng.random() < 0.3:
            is_here = not is_here
            if is_here:
                here.start()
            else:
                assert here.stop() == 0
        if devices and rng.random() < 0.4:
            devices.pop().asks("POST", "logout")
        else:
            devices.append(logged_in(juliet.wire, juliet.user_id))
            Keys(devices[-1]).publishes()
        if rng.random() < 0.3:
            identity = Identity(juliet.user_id).keys()
            uploads_identity(juliet, identity, confirming=bool(queries(juliet, juliet)["master_keys"]))
    if not is_here:
        here.start()
    at = romeo.sync()
    last = logged_in(juliet.wire, juliet.user_id)
    Keys(last).publishes()
    for _ in range(30):
        if shown(romeo, juliet) == shown(juliet, juliet):
            break
        at = romeo.sync(at, timeout_ms=1000)
    assert shown(romeo, juliet) == shown(juliet, juliet)
