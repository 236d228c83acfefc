"""Passwords, deactivation and devices over HTTP."""

from __future__ import annotations

from tests.integration.client_api.people import V3, House


def test_a_new_password_logs_the_other_devices_out(verona: House) -> None:
    juliet = verona.person("juliet")
    other = juliet.another_device()
    assert juliet.confirms("POST", "/account/password", {"new_password": "new"}).status == 200
    assert juliet.is_logged_in
    assert not other.is_logged_in
    assert verona.logs_in("juliet", juliet.password).refusal == (403, "M_FORBIDDEN")
    assert verona.logs_in("juliet", "new").status == 200


def test_other_devices_may_stay_logged_in(verona: House) -> None:
    romeo = verona.person("romeo")
    other = romeo.another_device()
    body = {"new_password": "new", "logout_devices": False}
    assert romeo.confirms("POST", "/account/password", body).status == 200
    assert other.is_logged_in


def test_a_wrong_password_changes_nothing_and_may_be_tried_again(verona: House) -> None:
    tybalt = verona.person("tybalt")
    refused = tybalt.confirms("POST", "/account/password", {"new_password": "new"}, password="wrong")
    assert refused.refusal == (401, "M_FORBIDDEN")
    auth = {
        "type": "m.login.password",
        "session": refused.json["session"],
        "identifier": {"type": "m.id.user", "user": "tybalt"},
        "password": tybalt.password,
    }
    assert tybalt.call("POST", "/account/password", {"new_password": "new", "auth": auth}).status == 200


def test_nobody_confirms_with_the_password_of_another(verona: House) -> None:
    thief, owner = verona.person("thief"), verona.person("owner")
    asked = owner.call("POST", "/account/deactivate", {})
    auth = {
        "type": "m.login.password",
        "session": asked.json["session"],
        "identifier": {"type": "m.id.user", "user": thief.user_id},
        "password": thief.password,
    }
    assert owner.call("POST", "/account/deactivate", {"auth": auth}).status == 401
    assert thief.call("POST", "/account/deactivate", {"auth": auth}).refusal == (403, "M_FORBIDDEN")
    assert owner.is_logged_in and thief.is_logged_in


def test_a_session_for_one_thing_is_not_good_for_another(verona: House) -> None:
    friar = verona.person("laurence")
    first, second = friar.another_device(), friar.another_device()
    asked = friar.call("DELETE", f"/devices/{first.device_id}", {})
    auth = {
        "type": "m.login.password",
        "session": asked.json["session"],
        "identifier": {"type": "m.id.user", "user": friar.user_id},
        "password": friar.password,
    }
    assert friar.call("DELETE", f"/devices/{second.device_id}", {"auth": auth}).refusal == (403, "M_FORBIDDEN")
    assert second.is_logged_in


def test_deactivation_ends_the_account_for_good(verona: House) -> None:
    paris = verona.person("paris")
    paris.call("PUT", f"/profile/{paris.user_id}/displayname", {"displayname": "Paris"})
    answer = paris.confirms("POST", "/account/deactivate", {})
    assert answer.json == {"id_server_unbind_result": "success"}
    assert not paris.is_logged_in
    assert verona.logs_in("paris", paris.password).refusal == (403, "M_USER_DEACTIVATED")
    assert verona.registers("paris").refusal == (400, "M_USER_IN_USE")
    assert verona.call("GET", f"{V3}/profile/{paris.user_id}").json == {"displayname": "Paris"}


def test_erasure_takes_the_profile_and_the_account_data_away(verona: House) -> None:
    ghost = verona.person("ghost")
    ghost.call("PUT", f"/profile/{ghost.user_id}/displayname", {"displayname": "Ghost"})
    ghost.call("PUT", f"{ghost.own}/account_data/my.note", {"secret": True})
    assert ghost.confirms("POST", "/account/deactivate", {"erase": True}).status == 200
    assert verona.call("GET", f"{V3}/profile/{ghost.user_id}").refusal == (404, "M_NOT_FOUND")
    assert verona.asks("SELECT count(*) FROM account_data WHERE user_id = %s", ghost.user_id) == [(0,)]


def test_devices_are_listed_named_and_deleted(verona: House) -> None:
    benvolio = verona.person("benvolio")
    phone = benvolio.another_device(device_id="PHONE", initial_device_display_name="phone")
    phone.is_logged_in  # noqa: B018 -- it asks, so it is seen
    shown = benvolio.call("GET", "/devices/PHONE").json
    assert shown["display_name"] == "phone"
    assert shown["last_seen_ip"] == "127.0.0.1" and shown["last_seen_ts"] > 0
    assert benvolio.call("PUT", "/devices/PHONE", {"display_name": "telephone"}).status == 200
    assert benvolio.call("GET", "/devices/PHONE").json["display_name"] == "telephone"
    assert benvolio.call("PUT", "/devices/NONE", {"display_name": "x"}).refusal == (404, "M_NOT_FOUND")
    assert benvolio.call("GET", "/devices/NONE").refusal == (404, "M_NOT_FOUND")
    assert benvolio.confirms("DELETE", "/devices/PHONE", {}).status == 200
    assert not phone.is_logged_in
    assert benvolio.call("GET", "/devices/PHONE").status == 404


def test_several_devices_are_deleted_at_once_and_only_ones_own(verona: House) -> None:
    mercutio, stranger = verona.person("mercutio"), verona.person("stranger", device_id="C")
    a, b = mercutio.another_device(device_id="A"), mercutio.another_device(device_id="B")
    assert mercutio.confirms("POST", "/delete_devices", {"devices": ["A", "B", "C", "D"]}).status == 200
    assert not a.is_logged_in and not b.is_logged_in
    assert mercutio.is_logged_in and stranger.is_logged_in


def test_no_third_party_identifiers_are_bound(verona: House) -> None:
    assert verona.person("anna").call("GET", "/account/3pid").json == {"threepids": []}
