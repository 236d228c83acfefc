"""Login, refresh and logout over HTTP."""

from __future__ import annotations

import pytest

from tests.integration.client_api.people import V3, House, house
from tests.postgres import FreshDatabase


def test_who_knows_the_password_gets_a_device_and_a_token(verona: House) -> None:
    verona.person("capulet")
    made = verona.logs_in("capulet", "password of capulet", initial_device_display_name="a phone").json
    assert made["user_id"] == "@capulet:verona.example"
    assert len(made["device_id"]) == 10
    who = verona.call("GET", f"{V3}/account/whoami", token=made["access_token"]).json
    assert who == {"user_id": "@capulet:verona.example", "device_id": made["device_id"]}
    device = verona.call("GET", f"{V3}/devices/{made['device_id']}", token=made["access_token"]).json
    assert device["display_name"] == "a phone"


@pytest.mark.parametrize("user", ["montague", "@montague:verona.example", "MONTAGUE"])
def test_a_user_is_known_by_localpart_and_by_id_in_any_case(verona: House, user: str) -> None:
    verona.registers("montague")
    assert verona.logs_in(user, "password of montague").status == 200


def test_the_older_form_of_login_is_understood(verona: House) -> None:
    verona.person("sampson")
    body = {"type": "m.login.password", "user": "sampson", "password": "password of sampson"}
    assert verona.call("POST", "/_matrix/client/r0/login", body).status == 200


@pytest.mark.parametrize("user", ["gregory", "nobody", "@gregory:elsewhere.example", "not a name"])
def test_a_wrong_password_and_an_unknown_user_are_refused_alike(verona: House, user: str) -> None:
    verona.registers("gregory")
    refused = verona.logs_in(user, "wrong")
    assert refused.refusal == (403, "M_FORBIDDEN")
    assert refused.json["error"] == verona.logs_in("nobody at all", "wrong").json["error"]


def test_malformed_logins_are_refused_with_what_is_wrong(verona: House) -> None:
    def refusal(body: object) -> tuple[int, str]:
        return verona.call("POST", f"{V3}/login", body).refusal

    user = {"type": "m.id.user", "user": "x"}
    third_party = {"type": "m.id.thirdparty", "medium": "email", "address": "x@example.org"}
    assert refusal(b"{") == (400, "M_NOT_JSON")
    assert refusal({}) == (400, "M_MISSING_PARAM")
    assert refusal({"type": "m.login.token", "token": "x"}) == (400, "M_UNKNOWN")
    assert refusal({"type": "m.login.password", "identifier": user}) == (400, "M_MISSING_PARAM")
    assert refusal({"type": "m.login.password", "password": "x"}) == (400, "M_MISSING_PARAM")
    assert refusal({"type": "m.login.password", "password": 1, "user": "x"}) == (400, "M_BAD_JSON")
    assert refusal({"type": "m.login.password", "identifier": third_party, "password": "x"}) == (403, "M_FORBIDDEN")


def test_a_login_on_a_known_device_ends_its_older_token(verona: House) -> None:
    balthasar = verona.person("balthasar")
    again = balthasar.another_device(device_id=balthasar.device_id)
    assert again.device_id == balthasar.device_id
    assert not balthasar.is_logged_in
    assert len(again.call("GET", "/devices").json["devices"]) == 1


def test_logout_ends_one_session_with_its_device_and_logout_all_every_one(verona: House) -> None:
    abram = verona.person("abram")
    second, third = abram.another_device(), abram.another_device()
    assert abram.call("POST", "/logout", {}).status == 200
    assert abram.call("GET", "/account/whoami").refusal == (401, "M_UNKNOWN_TOKEN")
    assert {each["device_id"] for each in second.call("GET", "/devices").json["devices"]} == {
        second.device_id,
        third.device_id,
    }
    assert third.call("POST", "/logout/all").status == 200
    assert not second.is_logged_in and not third.is_logged_in


def test_no_token_and_an_unknown_one_are_told_apart(verona: House) -> None:
    assert verona.call("GET", f"{V3}/account/whoami").refusal == (401, "M_MISSING_TOKEN")
    unknown = verona.call("GET", f"{V3}/account/whoami", token="mt_nonsense")
    assert unknown.refusal == (401, "M_UNKNOWN_TOKEN")
    assert unknown.json["soft_logout"] is False


def test_a_refresh_token_holds_until_the_new_access_token_is_used(verona: House) -> None:
    peter = verona.person("peter")
    first = verona.logs_in(peter.user_id, peter.password, refresh_token=True).json
    assert first["expires_in_ms"] > 0

    def refresh(token: str) -> tuple[int, dict[str, str]]:
        answer = verona.call("POST", f"{V3}/refresh", {"refresh_token": token})
        return answer.status, answer.json

    def works(token: str) -> bool:
        return verona.call("GET", f"{V3}/account/whoami", token=token).status == 200

    _, lost = refresh(first["refresh_token"])
    assert works(first["access_token"])
    status, second = refresh(first["refresh_token"])
    assert status == 200, "the answer to the first refresh may have been lost"
    assert not works(lost["access_token"])
    assert works(second["access_token"])
    assert not works(first["access_token"])
    assert refresh(first["refresh_token"])[0] == 401
    assert refresh(lost["refresh_token"])[0] == 401
    status, third = refresh(second["refresh_token"])
    assert status == 200 and works(third["access_token"])


def test_tokens_survive_a_restart_and_stand_nowhere_in_the_database(fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()
    with house(dsn) as before:
        lady = before.person("lady")
    with house(dsn) as after:
        assert after.call("GET", f"{V3}/account/whoami", token=lady.token).status == 200
        assert after.asks("SELECT count(*) FROM access_tokens WHERE token_hash = sha256(%s)", lady.token.encode()) == [
            (1,)
        ]


def test_wrong_passwords_are_limited_for_each_account_but_not_right_ones(fresh_database: FreshDatabase) -> None:
    with house(fresh_database(), rate_limits={"enabled": True}) as limited:
        limited.person("escalus")
        limited.person("paris")
        for _ in range(8):
            assert limited.logs_in("escalus", "password of escalus").status == 200
        statuses = [limited.logs_in("paris", "wrong").status for _ in range(6)]
        assert statuses == [403] * 5 + [429]
        refused = limited.logs_in("paris", "password of paris")
        assert refused.refusal == (429, "M_LIMIT_EXCEEDED")
        assert refused.json["retry_after_ms"] > 0
