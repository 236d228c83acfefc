"""Registration over HTTP: by users, by guests, by token, by shared secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.client_api.people import V3, Answer, House, house
from tests.postgres import FreshDatabase, TestServer


def register(house: House, **body: Any) -> Answer:
    """POST /register."""
    return house.call("POST", f"{V3}/register", body)


def dummy(session: str | None = None) -> dict[str, str]:
    """The stage that asks nothing."""
    return {"type": "m.login.dummy", **({"session": session} if session else {})}


@pytest.fixture(scope="module")
def closed(postgres: TestServer) -> Iterator[House]:
    """A server on which nobody can register."""
    with house(postgres.fresh_database()) as running:
        yield running


@pytest.fixture(scope="module")
def by_token(postgres: TestServer) -> Iterator[House]:
    """A server that asks for registration tokens."""
    with house(postgres.fresh_database(), registration={"enabled": True, "require_token": True}) as running:
        yield running


def test_a_user_registers_through_the_dummy_stage_and_is_logged_in(verona: House) -> None:
    asked = register(verona, username="Rosaline", password="x")
    assert asked.status == 401
    assert asked.json["flows"] == [{"stages": ["m.login.dummy"]}]
    made = register(verona, username="Rosaline", password="x", auth=dummy(asked.json["session"]), device_id="PHONE")
    assert made.status == 200
    assert made.json["user_id"] == "@rosaline:verona.example"
    assert made.json["device_id"] == "PHONE"
    assert verona.logs_in("rosaline", "x").status == 200
    repeated = register(verona, username="other", password="x", auth=dummy(asked.json["session"]))
    assert repeated.status == 400, "a session is good for one account"


def test_who_knows_what_to_say_needs_one_request_only(verona: House) -> None:
    made = register(verona, username="anthony", password="x", auth=dummy(), inhibit_login=True)
    assert made.status == 200
    assert made.json["user_id"] == "@anthony:verona.example"
    assert "access_token" not in made.json and "device_id" not in made.json


def test_who_names_no_name_gets_one(verona: House) -> None:
    made = register(verona, password="x", auth=dummy())
    assert made.status == 200
    assert len(made.json["user_id"]) > len("@:verona.example")


@pytest.mark.parametrize("username", ["", "has space", "ünïcode", "a:b", "@a", "x" * 250, "nul\0"])
def test_names_outside_the_grammar_are_refused(verona: House, username: str) -> None:
    assert register(verona, username=username, password="x").refusal[0] == 400
    if "\0" not in username:
        assert register(verona, username=username, password="x").refusal[1] == "M_INVALID_USERNAME"


def test_a_name_that_is_taken_is_refused_before_and_after_authentication(verona: House) -> None:
    asked = register(verona, username="potpan", password="x")
    verona.person("potpan")
    assert register(verona, username="potpan", password="x").refusal == (400, "M_USER_IN_USE")
    late = register(verona, username="potpan", password="x", auth=dummy(asked.json["session"]))
    assert late.refusal == (400, "M_USER_IN_USE")
    again = register(verona, username="potpan2", password="x", auth=dummy(asked.json["session"]))
    assert again.status == 200, "the client asks for another name in the same session"


def test_names_can_be_asked_for_beforehand(verona: House) -> None:
    def available(name: str) -> Answer:
        return verona.call("GET", f"{V3}/register/available?username={name}")

    verona.person("nurse")
    assert available("nobody_has_this").json == {"available": True}
    assert available("nurse").refusal == (400, "M_USER_IN_USE")
    assert available("NURSE").refusal == (400, "M_USER_IN_USE")
    assert available("a%20b").refusal == (400, "M_INVALID_USERNAME")
    assert verona.call("GET", f"{V3}/register/available").refusal == (400, "M_MISSING_PARAM")


def test_a_guest_may_look_and_little_more(verona: House) -> None:
    made = verona.call("POST", f"{V3}/register?kind=guest", {"device_id": "IGNORED"})
    assert made.status == 200
    token = made.json["access_token"]
    who = verona.call("GET", f"{V3}/account/whoami", token=token).json
    assert who["is_guest"] is True and who["device_id"] != "IGNORED"
    assert verona.call("GET", f"{V3}/pushrules/", token=token).refusal == (403, "M_GUEST_ACCESS_FORBIDDEN")
    profile = f"{V3}/profile/{who['user_id']}"
    assert verona.call("PUT", f"{profile}/displayname", {"displayname": "A guest"}, token).status == 200
    avatar = verona.call("PUT", f"{profile}/avatar_url", {"avatar_url": "mxc://a/b"}, token)
    assert avatar.refusal == (403, "M_GUEST_ACCESS_FORBIDDEN")


def test_a_closed_server_takes_neither_users_nor_guests(closed: House) -> None:
    assert register(closed, username="x", password="x", auth=dummy()).refusal == (403, "M_FORBIDDEN")
    guest = closed.call("POST", f"{V3}/register?kind=guest", {})
    assert guest.refusal == (403, "M_GUEST_ACCESS_FORBIDDEN")
    assert closed.call("POST", f"{V3}/register?kind=king", {}).refusal == (400, "M_INVALID_PARAM")


def test_a_registration_token_lets_in_as_many_as_it_says(by_token: House) -> None:
    by_token.asks("INSERT INTO registration_tokens (token, uses_allowed) VALUES ('ball', 1)")

    def with_token(name: str, token: str) -> Answer:
        asked = register(by_token, username=name, password="x")
        assert asked.json["flows"] == [{"stages": ["m.login.registration_token"]}]
        auth = {"type": "m.login.registration_token", "token": token, "session": asked.json["session"]}
        return register(by_token, username=name, password="x", auth=auth)

    def valid(token: str) -> Answer:
        return by_token.call("GET", f"/_matrix/client/v1/register/m.login.registration_token/validity?token={token}")

    wrong = with_token("mercutio", "mask")
    assert wrong.status == 401 and wrong.json["errcode"] == "M_UNAUTHORIZED"
    assert valid("ball").json == {"valid": True}
    assert with_token("mercutio", "ball").status == 200
    assert valid("ball").json == {"valid": False}
    assert with_token("benvolio", "ball").status == 401
    assert register(by_token, username="benvolio", password="x", auth=dummy()).status == 401


def test_the_shared_secret_makes_users_and_admins(verona: House) -> None:
    prince = verona.person("prince", admin=True, displayname="The Prince")
    assert verona.asks("SELECT is_admin FROM users WHERE user_id = %s", prince.user_id) == [(True,)]
    assert verona.call("GET", f"{V3}/profile/{prince.user_id}").json == {"displayname": "The Prince"}
    assert verona.registers("prince").refusal == (400, "M_USER_IN_USE")
    assert verona.registers("bad name").refusal == (400, "M_INVALID_USERNAME")


def test_a_wrong_secret_and_a_used_nonce_are_refused(verona: House) -> None:
    assert verona.registers("page", secret="guess").refusal == (403, "M_FORBIDDEN")
    nonce = verona.call("GET", "/_synapse/admin/v1/register").json["nonce"]
    body = {"nonce": nonce, "username": "page", "password": "x", "mac": "0" * 40}
    assert verona.call("POST", "/_synapse/admin/v1/register", body).refusal == (403, "M_FORBIDDEN")
    assert verona.call("POST", "/_synapse/admin/v1/register", body).refusal == (400, "M_UNKNOWN")


def test_the_secret_of_the_data_folder_is_good_from_this_machine_alone(fresh_database: FreshDatabase) -> None:
    with house(fresh_database(), registration={"shared_secret": None}) as quiet:
        assert quiet.registers("watchman", secret=quiet.local_secret).status == 200
        path = "/_synapse/admin/v1/register"
        from_afar = quiet.call("GET", path, **{"X-Forwarded-For": "203.0.113.7"})
        assert from_afar.refusal == (400, "M_UNKNOWN")
