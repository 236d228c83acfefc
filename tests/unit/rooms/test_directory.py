"""What becomes of m.room.canonical_alias when an alias goes."""

from __future__ import annotations

from homeserver.core.canonical_json import JsonObject
from homeserver.rooms.directory import join_servers, without_alias


def test_an_alias_goes_out_of_both_its_places() -> None:
    content: JsonObject = {"alias": "#a:b", "alt_aliases": ["#a:b", "#c:b"], "more": 1}
    assert without_alias(content, "#a:b") == {"alt_aliases": ["#c:b"], "more": 1}
    assert without_alias(content, "#c:b") == {"alias": "#a:b", "alt_aliases": ["#a:b"], "more": 1}
    assert content["alt_aliases"] == ["#a:b", "#c:b"]


def test_nothing_changes_where_the_alias_is_not_named() -> None:
    assert without_alias({"alias": "#a:b"}, "#x:b") is None
    assert without_alias({"alias": 5, "alt_aliases": "#x:b"}, "#x:b") is None


def test_servers_are_asked_once_those_the_client_names_first() -> None:
    assert join_servers(["one", "two"], ["two", "three"]) == ["one", "two", "three"]
