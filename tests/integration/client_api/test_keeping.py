"""What is kept for users over HTTP: profiles, account data, tags, filters, push rules."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from tests.integration.client_api.people import V3, House, house
from tests.postgres import FreshDatabase

ROOM = quote("!room:verona.example")


def test_a_profile_is_what_its_user_makes_of_it(verona: House) -> None:
    capulet = verona.person("lord_capulet")
    profile = f"/profile/{quote(capulet.user_id)}"
    assert capulet.call("GET", profile).json == {}
    assert capulet.call("GET", f"{profile}/displayname").refusal == (404, "M_NOT_FOUND")
    fields = {
        "displayname": "Capulet",
        "avatar_url": "mxc://a/b",
        "m.tz": "Europe/Rome",
        "org.example.pets": [{"n": 1}],
    }
    for name, value in fields.items():
        assert capulet.call("PUT", f"{profile}/{name}", {name: value}).status == 200
    assert verona.call("GET", V3 + profile).json == fields
    assert verona.call("GET", f"{V3}{profile}/org.example.pets").json == {"org.example.pets": [{"n": 1}]}
    assert capulet.call("DELETE", f"{profile}/m.tz").status == 200
    assert capulet.call("DELETE", f"{profile}/m.tz").status == 200
    assert capulet.call("PUT", f"{profile}/displayname", {"displayname": ""}).status == 200
    assert verona.call("GET", V3 + profile).json == {name: fields[name] for name in ("avatar_url", "org.example.pets")}


def test_what_makes_no_profile_is_refused(verona: House) -> None:
    montague = verona.person("lord_montague")
    profile = f"/profile/{quote(montague.user_id)}"

    def refusal(name: str, body: object) -> tuple[int, str]:
        return montague.call("PUT", f"{profile}/{name}", body).refusal

    assert refusal("displayname", {}) == (400, "M_MISSING_PARAM")
    assert refusal("displayname", {"displayname": 1}) == (400, "M_INVALID_PARAM")
    assert refusal("displayname", {"displayname": "nul\0"}) == (400, "M_INVALID_PARAM")
    assert refusal("displayname", b"{") == (400, "M_NOT_JSON")
    assert refusal("avatar_url", {"avatar_url": "http://example.org"}) == (400, "M_INVALID_PARAM")
    assert refusal("Capital", {"Capital": 1}) == (400, "M_INVALID_PARAM")
    assert refusal("a" * 256, {"a" * 256: 1}) == (400, "M_KEY_TOO_LARGE")
    assert refusal("a.b", {"a.b": "x" * 70_000}) == (400, "M_PROFILE_TOO_LARGE")
    assert refusal("a.b", {"a.b": "x" * 40_000}) == (200, "")
    assert refusal("a.c", {"a.c": "x" * 40_000}) == (400, "M_PROFILE_TOO_LARGE")
    assert refusal("a.b", {"a.b": "x" * 60_000}) == (200, "")
    other = quote(verona.person("lady_montague").user_id)
    assert montague.call("PUT", f"/profile/{other}/displayname", {"displayname": "x"}).refusal == (403, "M_FORBIDDEN")
    assert montague.call("DELETE", f"/profile/{other}/displayname").refusal == (403, "M_FORBIDDEN")
    assert montague.call("GET", "/profile/@none:verona.example").refusal == (404, "M_NOT_FOUND")
    assert montague.call("GET", "/profile/none").refusal == (400, "M_INVALID_PARAM")


def test_account_data_is_kept_for_its_user_alone(verona: House) -> None:
    a, b = verona.person("keeper"), verona.person("peeper")
    assert a.call("GET", f"{a.own}/account_data/my.type").refusal == (404, "M_NOT_FOUND")
    assert a.call("PUT", f"{a.own}/account_data/my.type", {"a": [1, "ü", None, 1.5]}).status == 200
    assert a.call("PUT", f"{a.own}/rooms/{ROOM}/account_data/my.type", {"in": "room"}).status == 200
    assert a.call("GET", f"{a.own}/account_data/my.type").json == {"a": [1, "ü", None, 1.5]}
    assert a.call("GET", f"{a.own}/rooms/{ROOM}/account_data/my.type").json == {"in": "room"}
    assert b.call("GET", f"{a.own}/account_data/my.type").refusal == (403, "M_FORBIDDEN")
    assert b.call("PUT", f"{a.own}/account_data/my.type", {}).refusal == (403, "M_FORBIDDEN")
    assert a.call("PUT", f"{a.own}/account_data/my.type", b"[1]").refusal == (400, "M_BAD_JSON")
    assert a.call("PUT", f"{a.own}/rooms/bad/account_data/my.type", {}).refusal == (400, "M_INVALID_PARAM")
    assert a.call("PUT", f"{a.own}/account_data/{'x' * 3000}", {}).refusal == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize("type", ["m.push_rules", "m.fully_read"])
def test_what_the_server_looks_after_cannot_be_put_as_account_data(verona: House, type: str) -> None:
    user = verona.person(f"putter_{type}")
    assert user.call("PUT", f"{user.own}/account_data/{type}", {}).refusal == (405, "M_BAD_JSON")
    assert user.call("PUT", f"{user.own}/rooms/{ROOM}/account_data/{type}", {}).refusal == (405, "M_BAD_JSON")


def test_tags_are_given_and_taken_away_also_many_at_once(verona: House) -> None:
    user = verona.person("tagger")
    tags = f"{user.own}/rooms/{ROOM}/tags"
    assert user.call("GET", tags).json == {"tags": {}}
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda n: user.call("PUT", f"{tags}/u.tag{n}", {"order": n / 20}).status, range(16)))
    assert statuses == [200] * 16
    assert user.call("GET", tags).json["tags"] == {f"u.tag{n}": {"order": n / 20} for n in range(16)}
    assert user.call("DELETE", f"{tags}/u.tag3").status == 200
    assert user.call("DELETE", f"{tags}/u.tag3").status == 200
    assert len(user.call("GET", tags).json["tags"]) == 15
    assert user.call("GET", f"{user.own}/rooms/{ROOM}/account_data/m.tag").json == user.call("GET", tags).json
    assert user.call("PUT", f"{tags}/u.x", {"order": "first"}).refusal == (400, "M_BAD_JSON")


def test_a_filter_is_given_back_as_it_was_deposited_and_the_same_one_once(verona: House) -> None:
    user, other = verona.person("filterer"), verona.person("unfiltered")
    wanted = {"room": {"timeline": {"limit": 5}}, "event_fields": ["type"]}
    first = user.call("POST", f"{user.own}/filter", wanted).json["filter_id"]
    again = user.call("POST", f"{user.own}/filter", dict(reversed(wanted.items()))).json["filter_id"]
    second = user.call("POST", f"{user.own}/filter", {}).json["filter_id"]
    assert first == again != second
    assert user.call("GET", f"{user.own}/filter/{first}").json == wanted
    assert user.call("GET", f"{user.own}/filter/77").refusal == (404, "M_NOT_FOUND")
    assert user.call("GET", f"{user.own}/filter/x").refusal == (404, "M_NOT_FOUND")
    assert user.call("POST", f"{user.own}/filter", {"room": []}).refusal == (400, "M_BAD_JSON")
    assert other.call("GET", f"{user.own}/filter/{first}").refusal == (403, "M_FORBIDDEN")


def test_push_rules_begin_as_the_specification_has_them(verona: House) -> None:
    user = verona.person("pushed")
    rules = user.call("GET", "/pushrules/").json["global"]
    assert rules == user.call("GET", "/pushrules/global/").json
    assert rules == user.call("GET", f"{user.own}/account_data/m.push_rules").json["global"]
    assert rules["override"][0]["rule_id"] == ".m.rule.master"
    for_me = user.call("GET", "/pushrules/global/override/.m.rule.invite_for_me").json
    assert for_me["conditions"][-1]["pattern"] == user.user_id


def test_push_rules_are_added_moved_switched_and_removed(verona: House) -> None:
    user = verona.person("pusher")
    rule = "/pushrules/global"
    assert user.call("PUT", f"{rule}/content/one", {"pattern": "one", "actions": ["notify"]}).status == 200
    assert user.call("PUT", f"{rule}/content/two", {"pattern": "two", "actions": []}).status == 200
    after = user.call("PUT", f"{rule}/content/three?after=one", {"pattern": "three", "actions": []})
    assert after.status == 200
    order = [each["rule_id"] for each in user.call("GET", "/pushrules/").json["global"]["content"]]
    assert order == ["two", "one", "three"]
    assert user.call("PUT", f"{rule}/content/one/enabled", {"enabled": False}).status == 200
    assert user.call("GET", f"{rule}/content/one/enabled").json == {"enabled": False}
    assert user.call("PUT", f"{rule}/override/.m.rule.master/enabled", {"enabled": True}).status == 200
    assert user.call("GET", f"{rule}/override/.m.rule.master/enabled").json == {"enabled": True}
    assert user.call("PUT", f"{rule}/underride/.m.rule.message/actions", {"actions": []}).status == 200
    assert user.call("GET", f"{rule}/underride/.m.rule.message/actions").json == {"actions": []}
    assert user.call("DELETE", f"{rule}/content/two").status == 200
    assert user.call("GET", f"{rule}/content/two").refusal == (404, "M_NOT_FOUND")


def test_edits_of_push_rules_that_make_no_sense_are_refused(verona: House) -> None:
    user = verona.person("botcher")
    rule = "/pushrules/global"
    good = {"pattern": "x", "actions": ["notify"]}
    assert user.call("PUT", f"{rule}/content/x", {"pattern": "x"}).refusal == (400, "M_MISSING_PARAM")
    assert user.call("PUT", f"{rule}/content/.x", good).refusal == (400, "M_INVALID_PARAM")
    assert user.call("PUT", f"{rule}/nonsense/x", good).refusal == (400, "M_INVALID_PARAM")
    assert user.call("PUT", f"{rule}/content/x?before=none", good).refusal == (400, "M_UNKNOWN")
    assert user.call("DELETE", f"{rule}/content/x").refusal == (404, "M_NOT_FOUND")
    assert user.call("DELETE", f"{rule}/override/.m.rule.master").refusal == (400, "M_INVALID_PARAM")
    assert user.call("PUT", f"{rule}/content/x/enabled", {"enabled": True}).refusal == (404, "M_NOT_FOUND")
    assert user.call("PUT", f"{rule}/override/.m.rule.master/enabled", {}).refusal == (400, "M_MISSING_PARAM")


def test_edited_push_rules_survive_a_restart(fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()
    with house(dsn) as before:
        user = before.person("keeper")
        user.call("PUT", "/pushrules/global/room/!r:x", {"actions": []})
        edited = user.call("GET", "/pushrules/").json
    with house(dsn) as after:
        user.house = after
        assert user.call("GET", "/pushrules/").json == edited


def test_the_server_tells_what_it_can_do(verona: House) -> None:
    versions = verona.call("GET", "/_matrix/client/versions").json
    assert "v1.11" in versions["versions"]
    assert versions["unstable_features"]["org.myelin.stream"] is True
    able = verona.person("able").call("GET", "/capabilities").json["capabilities"]
    assert able["m.room_versions"]["default"] == "12"
    assert able["m.room_versions"]["available"]["12"] == "stable"
    assert able["m.change_password"] == {"enabled": True}
    home = verona.call("GET", "/.well-known/matrix/client").json
    assert home == {"m.homeserver": {"base_url": f"http://127.0.0.1:{verona.port}"}}
    assert verona.call("GET", "/.well-known/matrix/server").refusal == (404, "M_NOT_FOUND")
