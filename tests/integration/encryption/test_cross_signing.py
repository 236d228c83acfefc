"""Users publish cross-signing keys and sign each other; who may see which signatures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cast import PASSWORD, Cast, Device, logged_in, refused
from tests.key_ring import Identity, Keys, changed, claims, queries, signed, uploads_identity
from tests.wire import Json, client_path


def signs(device: Device, target: str, key_id: str, value: Json) -> Json:
    """POST /keys/signatures/upload with one key; the failures."""
    return device.asks("POST", "keys", "signatures", "upload", body={target: {key_id: value}})["failures"]


def closes_account(device: Device) -> None:
    """POST /account/deactivate, with the password."""
    path = client_path("account", "deactivate")
    session = device.call("POST", path, {}).json["session"]
    user = {"type": "m.id.user", "user": device.user_id}
    auth = {"type": "m.login.password", "session": session, "identifier": user, "password": PASSWORD}
    assert device.call("POST", path, {"auth": auth}).status == 200


def public_key(identity: Identity) -> str:
    return identity.master.verify_key_base64


def test_everybody_sees_the_keys_but_the_user_signing_key(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    identity = Identity(juliet.user_id)
    uploads_identity(juliet, identity.keys())
    own, others = queries(juliet, juliet), queries(romeo, juliet)
    for found in (own, others):
        assert found["master_keys"] == {juliet.user_id: identity.keys()["master_key"]}
        assert found["self_signing_keys"] == {juliet.user_id: identity.keys()["self_signing_key"]}
    assert own["user_signing_keys"] == {juliet.user_id: identity.keys()["user_signing_key"]}
    assert others["user_signing_keys"] == {}


def test_other_keys_need_the_password_the_first_and_the_same_do_not(cast: Cast) -> None:
    juliet = cast("juliet")
    first = Identity(juliet.user_id).keys()
    uploads_identity(juliet, first)
    uploads_identity(juliet, first)
    uploads_identity(juliet, {"master_key": first["master_key"]})
    second = Identity(juliet.user_id).keys()
    uploads_identity(juliet, second, confirming=True)
    found = queries(juliet, juliet)
    assert [found[f"{usage}s"][juliet.user_id] for usage in second] == list(second.values())
    # A master key alone makes those void that another one had signed.
    uploads_identity(juliet, {"master_key": Identity(juliet.user_id).master_key()}, confirming=True)
    found = queries(juliet, juliet)
    assert found["self_signing_keys"] == found["user_signing_keys"] == {}


def test_an_admin_can_spare_a_user_the_password_once(cast: Cast) -> None:
    nurse, juliet, romeo = cast("nurse", admin=True), cast("juliet"), cast("romeo")
    path = f"/_synapse/admin/v1/users/{juliet.user_id}/_allow_cross_signing_replacement_without_uia"
    assert nurse.call("POST", path, {}).errcode == "M_NOT_FOUND"
    uploads_identity(juliet, Identity(juliet.user_id).keys())
    assert romeo.call("POST", path, {}).errcode == "M_FORBIDDEN"
    assert juliet.call("POST", path, {}).errcode == "M_FORBIDDEN"
    assert nurse.call("POST", path, {}).json["updatable_without_uia_before_ms"] > 0
    second = Identity(juliet.user_id).keys()
    uploads_identity(juliet, second)
    assert queries(romeo, juliet)["master_keys"] == {juliet.user_id: second["master_key"]}
    uploads_identity(juliet, Identity(juliet.user_id).keys(), confirming=True)


def test_a_self_signing_key_that_is_added_later_needs_the_password(cast: Cast) -> None:
    juliet = cast("juliet")
    identity = Identity(juliet.user_id)
    keys = identity.keys()
    with refused("M_MISSING_PARAM", 400):
        uploads_identity(juliet, {"self_signing_key": keys["self_signing_key"]})
    uploads_identity(juliet, {"master_key": keys["master_key"]})
    uploads_identity(juliet, {"self_signing_key": keys["self_signing_key"]}, confirming=True)
    assert queries(juliet, juliet)["self_signing_keys"] == {juliet.user_id: keys["self_signing_key"]}


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        (lambda keys: {**keys, "user_id": "@other:example.org"}, "M_INVALID_PARAM"),
        (lambda keys: {**keys, "usage": ["master"]}, "M_BAD_JSON"),
        (lambda keys: {**keys, "keys": {**keys["keys"], "ed25519:x": "x"}}, "M_BAD_JSON"),
        (lambda keys: {**keys, "keys": {"ed25519:x": "x"}}, "M_BAD_JSON"),
        (lambda keys: {**keys, "signatures": {}}, "M_INVALID_SIGNATURE"),
        (lambda keys: {**keys, "more": "after signing"}, "M_INVALID_SIGNATURE"),
        (lambda keys: {**keys, "more": 0.5}, "M_BAD_JSON"),
    ],
)
def test_user_keys_that_are_not_in_order_are_refused(cast: Cast, change: Callable[[Json], Json], errcode: str) -> None:
    juliet = cast("juliet")
    keys = Identity(juliet.user_id).keys()
    with refused(errcode, 400):
        uploads_identity(juliet, {**keys, "self_signing_key": change(keys["self_signing_key"])})
    assert queries(juliet, juliet)["master_keys"] == {}


def test_a_key_cannot_be_called_like_a_device(cast: Cast) -> None:
    juliet = cast("juliet")
    identity = Identity(juliet.user_id)
    logged_in(juliet.wire, juliet.user_id, identity.self_signing.verify_key_base64)
    with refused("M_FORBIDDEN", 403):
        uploads_identity(juliet, identity.keys())


def test_all_see_a_signed_device_and_a_master_key_signed_by_a_device(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    keys, identity = Keys(juliet).publishes(), Identity(juliet.user_id)
    uploads_identity(juliet, identity.keys())
    device = identity.signs_device(keys.device_keys())
    assert signs(juliet, juliet.user_id, juliet.device_id, device) == {}
    assert signs(juliet, juliet.user_id, public_key(identity), keys.signs(identity.master_key())) == {}
    for reader in (romeo, juliet):
        found = queries(reader, juliet)
        assert found["device_keys"][juliet.user_id][juliet.device_id] == device
        assert found["master_keys"][juliet.user_id] == keys.signs(identity.master_key())


def test_only_the_signer_sees_who_was_verified(cast: Cast) -> None:
    romeo, juliet, nurse = cast("romeo", devices=["one", "two"]), cast("juliet"), cast("nurse")
    his, hers = Identity(romeo.user_id), Identity(juliet.user_id)
    uploads_identity(romeo, his.keys())
    uploads_identity(juliet, hers.keys())
    start, nurses = romeo.two.sync(), nurse.sync()
    room = romeo.creates_room(preset="public_chat")
    nurse.joins(room)
    juliet.joins(room)
    start, nurses = romeo.two.sync(start), nurse.sync(nurses)
    verified = his.signs_user(hers.master_key())
    assert signs(romeo, juliet.user_id, public_key(hers), verified) == {}
    assert queries(romeo, juliet)["master_keys"][juliet.user_id] == verified
    for reader in (juliet, nurse):
        assert queries(reader, juliet)["master_keys"][juliet.user_id] == hers.master_key()
    # Another device of the signer hears of it, and nobody else.
    assert changed(romeo.two.sync(start).answer) == [juliet.user_id]
    assert changed(nurse.sync(nurses).answer) == []
    assert changed(juliet.asks("GET", "keys", "changes", **{"from": start.next_batch, "to": ""})) == []


def test_who_looks_again_sees_each_change(cast: Cast) -> None:
    romeo, juliet, nurse = cast("romeo"), cast("juliet"), cast("nurse")
    his, hers = Identity(romeo.user_id), Identity(juliet.user_id)
    uploads_identity(romeo, his.keys())
    keys = Keys(juliet)

    def seen(device: Json | None, master: Json | None, by_romeo: Json | None = None) -> None:
        for reader in (romeo, nurse, juliet):
            found = queries(reader, juliet, romeo)
            assert found["device_keys"][juliet.user_id] == ({} if device is None else {juliet.device_id: device})
            shown = by_romeo if reader is romeo and by_romeo is not None else master
            assert found["master_keys"].get(juliet.user_id) == shown
            assert found["master_keys"][romeo.user_id] == his.master_key()
            owners = {reader.user_id} & ({romeo.user_id} | ({juliet.user_id} if master else set()))
            assert set(found["user_signing_keys"]) == owners

    seen(None, None)
    keys.publishes()
    seen(keys.device_keys(), None)
    uploads_identity(juliet, hers.keys())
    seen(keys.device_keys(), hers.master_key())
    verified = his.signs_user(hers.master_key())
    assert signs(romeo, juliet.user_id, public_key(hers), verified) == {}
    seen(keys.device_keys(), hers.master_key(), verified)
    cross_signed = hers.signs_device(keys.device_keys())
    assert signs(juliet, juliet.user_id, juliet.device_id, cross_signed) == {}
    seen(cross_signed, hers.master_key(), verified)
    juliet.asks("PUT", "devices", juliet.device_id, body={"display_name": 'the "balcony"'})
    named = {**cross_signed, "unsigned": {"device_display_name": 'the "balcony"'}}
    seen(named, hers.master_key(), verified)
    # Other keys end the signatures on those before.
    after = Identity(juliet.user_id)
    uploads_identity(juliet, after.keys(), confirming=True)
    unsigned = {"unsigned": {"device_display_name": 'the "balcony"'}}
    seen({**keys.device_keys(), **unsigned}, after.master_key())
    juliet.asks("POST", "logout")
    for reader in (romeo, nurse):
        found = queries(reader, juliet)
        assert found["device_keys"] == {juliet.user_id: {}}
        assert found["master_keys"] == {juliet.user_id: after.master_key()}


def test_the_keys_of_a_closed_account_are_gone(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    Keys(juliet).publishes(1)
    uploads_identity(juliet, Identity(juliet.user_id).keys())
    assert queries(romeo, juliet)["master_keys"] != {}
    closes_account(juliet)
    found = queries(romeo, juliet)
    assert found["device_keys"] == {juliet.user_id: {}}
    assert found["master_keys"] == found["self_signing_keys"] == {}
    assert claims(romeo, juliet) == {}


def test_signatures_that_do_not_hold_are_named_and_the_others_kept(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    keys, identity, hers = Keys(romeo).publishes(), Identity(romeo.user_id), Identity(juliet.user_id)
    uploads_identity(romeo, identity.keys())
    uploads_identity(juliet, hers.keys())
    good = identity.signs_device(keys.device_keys())
    wrong = identity.signs_user(keys.device_keys())
    stranger = Identity(romeo.user_id)
    body = {
        romeo.user_id: {
            romeo.device_id: good,
            "NONE": good,
            public_key(identity): stranger.signs_device(identity.master_key()),
        },
        juliet.user_id: {
            public_key(hers): identity.signs_device(hers.master_key()),
            hers.self_signing.verify_key_base64: identity.signs_user(hers.keys()["self_signing_key"]),
        },
    }
    failures = romeo.asks("POST", "keys", "signatures", "upload", body=body)["failures"]
    assert {user: {key: each["errcode"] for key, each in keys.items()} for user, keys in failures.items()} == {
        romeo.user_id: {"NONE": "M_NOT_FOUND", public_key(identity): "M_INVALID_SIGNATURE"},
        juliet.user_id: {
            public_key(hers): "M_INVALID_SIGNATURE",
            hers.self_signing.verify_key_base64: "M_NOT_FOUND",
        },
    }
    assert queries(juliet, romeo)["device_keys"][romeo.user_id][romeo.device_id] == good
    for bad in (
        wrong,
        {**good, "algorithms": []},
        {**good, "more": 0.5},
        {**good, "more": 2**60},
        {k: v for k, v in good.items() if k != "signatures"},
        signed(keys.device_keys(), romeo.user_id, "ed25519:OTHER", stranger.master),
        {**good, "signatures": {romeo.user_id: {f"ed25519:{identity.self_signing.verify_key_base64}": "bm8"}}},
        "no key",
    ):
        assert list(signs(romeo, romeo.user_id, romeo.device_id, bad)[romeo.user_id]) == [romeo.device_id]
    with refused("M_BAD_JSON", 400):
        romeo.asks("POST", "keys", "signatures", "upload", body={romeo.user_id: []})


def test_new_keys_end_the_signatures_of_those_before(cast: Cast) -> None:
    juliet = cast("juliet")
    keys, identity = Keys(juliet).publishes(), Identity(juliet.user_id)
    uploads_identity(juliet, identity.keys())
    signs(juliet, juliet.user_id, juliet.device_id, identity.signs_device(keys.device_keys()))
    uploads_identity(juliet, Identity(juliet.user_id).keys(), confirming=True)
    found = queries(juliet, juliet)["device_keys"][juliet.user_id][juliet.device_id]
    assert found == keys.device_keys()
