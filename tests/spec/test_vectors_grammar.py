"""Identifiers and patterns as the specification has them."""

from __future__ import annotations

import pytest

from homeserver.core import glob, property_path
from homeserver.core.ids import (
    InvalidId,
    check_new_localpart,
    is_namespaced_identifier,
    localpart_from,
    localpart_of,
    parse_server_name,
    parse_user_id,
    server_name_of,
)
from homeserver.core.room_rules import is_room_version
from tests.spec.spec_files import vectors

GRAMMAR = vectors("grammar.json")


def texts(name: str, group: str) -> list[str]:
    return [case["text"] for case in GRAMMAR[name][group]]


@pytest.mark.parametrize("text", texts("server_name", "valid"))
def test_server_names(text: str) -> None:
    assert parse_server_name(text) == text


@pytest.mark.parametrize("text", texts("server_name", "invalid"))
def test_what_is_no_server_name(text: str) -> None:
    with pytest.raises(InvalidId):
        parse_server_name(text)


@pytest.mark.parametrize("text", texts("user_id", "valid"))
def test_user_ids(text: str) -> None:
    user_id = parse_user_id(text)
    check_new_localpart(localpart_of(user_id))
    assert f"@{localpart_of(user_id)}:{server_name_of(user_id)}" == text


@pytest.mark.parametrize("text", texts("user_id", "historical"))
def test_historical_user_ids_are_accepted_but_not_for_new_accounts(text: str) -> None:
    user_id = parse_user_id(text)
    with pytest.raises(InvalidId):
        check_new_localpart(localpart_of(user_id))


@pytest.mark.parametrize("text", texts("user_id", "invalid"))
def test_what_is_no_user_id(text: str) -> None:
    with pytest.raises(InvalidId):
        parse_user_id(text)


@pytest.mark.parametrize("group", ["valid", "invalid"])
def test_room_versions_and_namespaced_identifiers(group: str) -> None:
    assert [is_room_version(text) for text in texts("room_version", group)] == [group == "valid"] * len(
        GRAMMAR["room_version"][group]
    )
    assert [is_namespaced_identifier(text) for text in texts("namespaced_identifier", group)] == [
        group == "valid"
    ] * len(GRAMMAR["namespaced_identifier"][group])


@pytest.mark.parametrize("case", GRAMMAR["localpart_mapping"]["cases"], ids=lambda case: case["localpart"])
def test_any_text_can_become_a_localpart(case: dict[str, str]) -> None:
    assert localpart_from(case["text"]) == case["localpart"]
    check_new_localpart(case["localpart"])


@pytest.mark.parametrize("case", GRAMMAR["localpart_mapping"]["case_sensitive"], ids=lambda case: case["localpart"])
def test_a_localpart_can_keep_upper_and_lower_case_apart(case: dict[str, str]) -> None:
    assert localpart_from(case["text"], keep_case=True) == case["localpart"]


@pytest.mark.parametrize("case", GRAMMAR["property_path"]["cases"], ids=lambda case: case["path"])
def test_property_paths(case: dict[str, str | list[str]]) -> None:
    assert list(property_path.parse_path(str(case["path"]))) == case["keys"]


@pytest.mark.parametrize("case", GRAMMAR["glob"]["cases"], ids=lambda case: f"{case['glob']} on {case['text']}")
def test_globs(case: dict[str, str | bool]) -> None:
    assert bool(glob.whole(str(case["glob"]))(str(case["text"]))) is case["matches"]
