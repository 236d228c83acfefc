"""ROOM_RULES against the facts read from the specification."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.core.room_rules import (
    DEFAULT_ROOM_VERSION,
    EVERY_KEY,
    MAX_AUTH_EVENTS,
    MAX_EVENT_BYTES,
    MAX_PREV_EVENTS,
    ROOM_RULES,
    V1,
    RoomRules,
    evolve,
)
from tests.spec.spec_files import vectors

FACTS = vectors("room_versions.json")


@pytest.fixture(params=list(FACTS["versions"]))
def row(request: pytest.FixtureRequest) -> tuple[RoomRules, dict[str, Any]]:
    return ROOM_RULES[request.param], FACTS["versions"][request.param]


def test_all_room_versions_of_the_specification_are_there() -> None:
    assert list(ROOM_RULES) == list(FACTS["versions"])
    assert FACTS["default_room_version"]["value"] == DEFAULT_ROOM_VERSION
    assert all(version == rules.version for version, rules in ROOM_RULES.items())


def test_the_event_format_of_each_version(row: tuple[RoomRules, dict[str, Any]]) -> None:
    rules, facts = row
    event_format, event_id = facts["event_format"], facts["event_id"]
    assert rules.stable is (facts["stability"]["value"] == "stable")
    assert rules.event_id_in_pdu is event_id["event_id_in_federation_pdu"]
    assert rules.event_id_in_pdu is (event_id["format"] == "opaque:domain")
    assert rules.event_id_is_url_safe is ("URL-safe" in event_id["format"])
    assert rules.references_have_hashes is ("sha256" in event_format["prev_and_auth_events"])
    assert rules.redacts_in_content is (event_format["redacts_key_of_m.room.redaction"] == "content")
    assert rules.max_depth == event_format["max_depth"]
    assert rules.room_id_is_create_hash is not event_format["room_id_in_m.room.create"]
    assert rules.room_id_is_create_hash is (facts["room_id"]["format"] != "opaque:domain")
    assert rules.strict_json is facts["canonical_json"]["strict"]
    assert rules.strict_json is not facts["canonical_json"]["floats_allowed"]
    assert (event_format["max_prev_events"], event_format["max_auth_events"]) == (MAX_PREV_EVENTS, MAX_AUTH_EVENTS)
    assert facts["size_limits"]["event_bytes"] == MAX_EVENT_BYTES


def test_the_redaction_of_each_version(row: tuple[RoomRules, dict[str, Any]]) -> None:
    rules, facts = row
    redaction = facts["redaction"]
    assert rules.keep_top_level == set(redaction["keep_top_level"])
    assert rules.keep_content.keys() == redaction["keep_content"].keys()
    for event_type, keys in redaction["keep_content"].items():
        ours = rules.keep_content[event_type]
        assert (ours == EVERY_KEY) if keys == "*" else (set(ours) == set(keys)), event_type
    assert rules.redaction_rule is redaction["applied"].startswith("by the authorisation rules")


def test_the_authorisation_rules_of_each_version(row: tuple[RoomRules, dict[str, Any]]) -> None:
    rules, facts = row
    authorisation, join_rules, levels = facts["authorisation"], facts["join_rules"], facts["power_levels"]
    creator, selection = facts["creator"], facts["auth_events_selection"]
    assert rules.aliases_rule is authorisation["m.room.aliases_special_rule"]
    assert rules.redaction_rule is authorisation["m.room.redaction_special_rule"]
    assert rules.restricted_joins is authorisation["join_authorised_via_users_server"]
    assert rules.restricted_joins is join_rules["restricted"]
    assert rules.restricted_joins is ("join_authorised_via_users_server" in str(selection["m.room.member"]))
    assert rules.knock_restricted_joins is join_rules["knock_restricted"]
    assert rules.knocking is facts["membership_knock"]["allowed"]
    assert rules.knocking is authorisation["leave_from_knock"]
    assert rules.knocking is join_rules["knock"]
    assert rules.knocking is ("knock" in str(selection["m.room.member"]))
    assert rules.integer_power_levels is levels["integers_required"]
    assert rules.integer_power_levels is not levels["strings_accepted"]
    assert rules.float_power_levels is levels["floats_accepted"]
    assert rules.notifications_checked is levels["notifications_checked"]
    assert rules.creator_in_content is creator["content.creator_required"]
    assert rules.additional_creators is creator["additional_creators"]
    assert rules.infinite_creators is creator["infinite_power_level"]
    assert rules.infinite_creators is not levels["creators_may_be_in_users"]
    assert rules.create_in_auth_events is (selection["m.room.create"] == "required")


def test_the_signatures_and_state_resolution_of_each_version(row: tuple[RoomRules, dict[str, Any]]) -> None:
    rules, facts = row
    assert rules.event_id_server_signs is ("server of event_id" in facts["signatures"]["servers"])
    assert rules.key_validity_enforced is facts["signatures"]["key_validity_enforced"]
    assert rules.state_resolution == facts["state_resolution"]["version"]


def test_a_field_that_no_row_has_is_a_mistake() -> None:
    with pytest.raises(TypeError):
        evolve(V1, knoking=True)
