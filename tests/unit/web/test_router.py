"""Paths lead to endpoints."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from homeserver.web.endpoint import NONE, Declaration
from homeserver.web.errors import InvalidParam, MethodNotAllowed, Unrecognized
from homeserver.web.router import Router


@dataclass(frozen=True)
class Place:
    declaration: Declaration


def router(*paths: str) -> Router[Place]:
    """A router of "METHOD /path" texts."""
    places = []
    for each in paths:
        method, path = each.split(" ")
        places.append(Place(Declaration(method, path, NONE)))
    return Router(places)


ROOMS = router(
    "GET /_matrix/client/v3/rooms/{room_id}/state",
    "GET /_matrix/client/v3/rooms/{room_id}/state/{type}",
    "GET /_matrix/client/v3/rooms/{room_id}/state/{type}/{state_key}",
    "PUT /_matrix/client/v3/rooms/{room_id}/state/{type}/{state_key}",
    "PUT /_matrix/client/v3/rooms/{room_id}/send/{type}/{txn_id}",
    "GET /_matrix/client/v3/rooms/{room_id}/{anything}/fixed",
    "POST /_matrix/client/v3/rooms/upgrade/now",
    "GET /_matrix/client/v3/pushrules/",
    "GET /_matrix/media/v3/download/{server}/{media_id}",
    "GET /_matrix/client/v1/only",
)


def test_parameters_are_percent_decoded_each_for_itself() -> None:
    found = ROOMS.match("PUT", "/_matrix/client/v3/rooms/%21a%3Ab.c/send/org%2Ftype%252F/t%C3%A4t")
    assert found.arguments == {"room_id": "!a:b.c", "type": "org/type%2F", "txn_id": "tät"}


def test_an_event_type_may_hold_an_encoded_slash_but_not_a_plain_one() -> None:
    assert ROOMS.match("GET", "/_matrix/client/v3/rooms/!a/state/a%2Fb").arguments["type"] == "a/b"
    with pytest.raises(Unrecognized):
        ROOMS.match("GET", "/_matrix/client/v3/rooms/!a/state/a/b/c")


def test_a_state_key_may_be_empty_with_or_without_its_slash() -> None:
    assert ROOMS.match("GET", "/_matrix/client/v3/rooms/!a/state/m.room.name/").arguments == {
        "room_id": "!a",
        "type": "m.room.name",
        "state_key": "",
    }
    assert ROOMS.match("GET", "/_matrix/client/v3/rooms/!a/state/m.room.name").arguments == {
        "room_id": "!a",
        "type": "m.room.name",
    }


def test_other_parameters_may_not_be_empty() -> None:
    with pytest.raises(Unrecognized):
        ROOMS.match("PUT", "/_matrix/client/v3/rooms/!a/send//1")
    with pytest.raises(Unrecognized):
        ROOMS.match("PUT", "/_matrix/client/v3/rooms/!a/send/type/")


def test_a_literal_wins_over_a_parameter_but_does_not_hide_it() -> None:
    found = ROOMS.match("GET", "/_matrix/client/v3/rooms/upgrade/state")
    assert found.arguments == {"room_id": "upgrade"}
    assert ROOMS.match("POST", "/_matrix/client/v3/rooms/upgrade/now").arguments == {}
    assert ROOMS.match("GET", "/_matrix/client/v3/rooms/!a/state/fixed").arguments == {"room_id": "!a", "type": "fixed"}
    assert ROOMS.match("GET", "/_matrix/client/v3/rooms/!a/x/fixed").arguments == {"room_id": "!a", "anything": "x"}


def test_r0_leads_to_v3_and_to_nothing_newer() -> None:
    assert ROOMS.match("GET", "/_matrix/client/r0/rooms/!a/state").arguments == {"room_id": "!a"}
    assert ROOMS.match("GET", "/_matrix/media/r0/download/s/m").arguments == {"server": "s", "media_id": "m"}
    with pytest.raises(Unrecognized):
        ROOMS.match("GET", "/_matrix/client/r0/only")


def test_an_alias_leads_to_the_same_endpoint() -> None:
    place = Place(Declaration("GET", "/_matrix/client/v1/a/{b}", NONE, also=("/_matrix/client/unstable/msc1/a/{b}",)))
    found = Router([place]).match("GET", "/_matrix/client/unstable/msc1/a/x")
    assert found.endpoint is place
    assert found.arguments == {"b": "x"}


def test_a_slash_at_the_end_makes_no_difference() -> None:
    assert ROOMS.match("GET", "/_matrix/client/v3/pushrules").arguments == {}
    assert ROOMS.match("GET", "/_matrix/client/v3/pushrules/").arguments == {}
    assert ROOMS.match("GET", "/_matrix/client/v3/rooms/!a/state/").arguments == {"room_id": "!a"}


def test_an_unknown_path_is_unrecognized() -> None:
    with pytest.raises(Unrecognized) as caught:
        ROOMS.match("GET", "/_matrix/client/v3/nothing")
    assert (caught.value.status, caught.value.errcode) == (404, "M_UNRECOGNIZED")


def test_a_wrong_method_is_told_the_right_ones() -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        ROOMS.match("DELETE", "/_matrix/client/v3/rooms/!a/state/t/k")
    assert (caught.value.status, caught.value.errcode) == (405, "M_UNRECOGNIZED")
    assert caught.value.headers["Allow"] == "GET, HEAD, OPTIONS, PUT"


def test_a_wrong_method_is_told_so_where_a_slash_ends_the_path() -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        ROOMS.match("DELETE", "/_matrix/client/v3/pushrules/")
    assert caught.value.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_head_goes_where_get_goes() -> None:
    assert ROOMS.match("HEAD", "/_matrix/client/v1/only").endpoint.declaration.method == "GET"
    with pytest.raises(MethodNotAllowed):
        ROOMS.match("HEAD", "/_matrix/client/v3/rooms/!a/send/t/1")


@pytest.mark.parametrize("segment", ["%ff", "%c3", "a%ff%20", "%ed%a0%80"])
def test_a_path_that_is_not_utf_8_is_refused(segment: str) -> None:
    with pytest.raises(InvalidParam):
        ROOMS.match("GET", f"/_matrix/client/v3/rooms/{segment}/state")


def test_two_endpoints_on_one_path_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="declared twice"):
        router("GET /a/{b}", "GET /a/{c}")


def test_a_parameter_must_be_a_whole_segment() -> None:
    with pytest.raises(ValueError, match="whole segment"):
        router("GET /a/x{b}")
