"""The user's push rules and their edits. Specification: Client-Server API, "Push notifications"."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core import canonical_json
from homeserver.core.canonical_json import JsonObject
from homeserver.core.push.default_rules import DEFAULT_RULES
from homeserver.core.push.rules import (
    MAX_RULES,
    NeighbourNotFound,
    RuleError,
    RuleNotFound,
    Ruleset,
    delete_rule,
    parse_actions,
    parse_rule,
    put_rule,
    set_actions,
    set_enabled,
)

ME = "@me:example.org"
NOTIFY: JsonObject = {"actions": ["notify"]}


def put(ruleset: Ruleset, kind: str, rule_id: str, before: str | None = None, after: str | None = None) -> Ruleset:
    body: JsonObject = {"actions": ["notify"], "pattern": rule_id} if kind == "content" else NOTIFY
    return put_rule(ruleset, parse_rule(kind, rule_id, body), before=before, after=after)


def ids(ruleset: Ruleset, kind: str) -> list[str]:
    return [rule.rule_id for rule in ruleset.rules(kind)]


def content_rules(*rule_ids: str) -> Ruleset:
    ruleset = Ruleset()
    for rule_id in reversed(rule_ids):
        ruleset = put(ruleset, "content", rule_id)
    return ruleset


def test_the_default_rules_are_those_of_the_specification_in_its_order() -> None:
    specified = json.loads((Path(__file__).parent / "predefined_push_rules.json").read_text())
    assert {kind: list(rules) for kind, rules in DEFAULT_RULES.items()} == specified


def test_clients_see_their_own_id_in_the_default_rules() -> None:
    shown = Ruleset().to_client(ME)
    assert set(shown) == {"override", "content", "room", "sender", "underride"}
    assert "[the user" not in json.dumps(shown)
    override = shown["override"]
    assert isinstance(override, list)
    mention = next(rule for rule in override if isinstance(rule, dict) and rule["rule_id"] == ".m.rule.is_user_mention")
    assert isinstance(mention, dict)
    assert mention["conditions"] == [
        {"kind": "event_property_contains", "key": "content.m\\.mentions.user_ids", "value": ME}
    ]


def test_a_new_rule_is_the_most_important_of_the_users_rules() -> None:
    ruleset = put(put(Ruleset(), "override", "first"), "override", "second")
    assert ids(ruleset, "override")[:4] == [".m.rule.master", "second", "first", ".m.rule.suppress_notices"]
    assert ids(put(Ruleset(), "underride", "mine"), "underride")[:2] == ["mine", ".m.rule.call"]


def test_before_puts_a_rule_next_above_another() -> None:
    assert ids(put(content_rules("a", "b", "c"), "content", "x", before="b"), "content") == ["a", "x", "b", "c"]


def test_after_puts_a_rule_next_below_another() -> None:
    assert ids(put(content_rules("a", "b", "c"), "content", "x", after="b"), "content") == ["a", "b", "x", "c"]


def test_before_wins_over_after() -> None:
    ruleset = put(content_rules("a", "b", "c"), "content", "x", before="c", after="a")
    assert ids(ruleset, "content") == ["a", "b", "x", "c"]


def test_an_existing_rule_keeps_its_place_unless_it_is_told_to_move() -> None:
    ruleset = content_rules("a", "b", "c")
    assert ids(put(ruleset, "content", "b"), "content") == ["a", "b", "c"]
    assert ids(put(ruleset, "content", "b", before="b"), "content") == ["a", "b", "c"]
    assert ids(put(ruleset, "content", "a", after="c"), "content") == ["b", "c", "a"]


def test_an_existing_rule_stays_switched_off_when_it_is_changed() -> None:
    ruleset = set_enabled(content_rules("a"), "content", "a", False)
    changed = put_rule(ruleset, parse_rule("content", "a", {"actions": [], "pattern": "other"}))
    rule = changed.find("content", "a")
    assert (rule.enabled, rule.pattern, rule.actions) == (False, "other", ())


@pytest.mark.parametrize("neighbour", ["unknown", ".m.rule.member_event"])
def test_a_rule_cannot_be_placed_beside_one_that_is_not_the_users(neighbour: str) -> None:
    with pytest.raises(NeighbourNotFound, match=f"before/after rule not found: {neighbour}"):
        put(Ruleset(), "override", "mine", before=neighbour)


@pytest.mark.parametrize(
    ("kind", "rule_id", "body"),
    [
        ("override", ".mine", {"actions": []}),
        ("override", "a/b", {"actions": []}),
        ("override", "a\\b", {"actions": []}),
        ("override", "", {"actions": []}),
        ("nonsense", "a", {"actions": []}),
        ("override", "a", {}),
        ("override", "a", {"actions": "notify"}),
        ("override", "a", {"actions": ["explode"]}),
        ("override", "a", {"actions": [{"value": "default"}]}),
        ("override", "a", {"actions": [], "conditions": {}}),
        ("override", "a", {"actions": [], "conditions": ["event_match"]}),
        ("override", "a", {"actions": [], "conditions": [{"key": "type"}]}),
        ("override", "a", {"actions": [], "conditions": [{"kind": "event_match", "key": "type"}]}),
        ("override", "a", {"actions": [], "conditions": [{"kind": "event_match", "pattern": "x"}]}),
        ("override", "a", {"actions": [], "conditions": [{"kind": "event_property_is", "key": "type"}]}),
        ("override", "a", {"actions": [], "conditions": [{"kind": "event_property_is", "key": "a", "value": []}]}),
        ("override", "a", {"actions": [], "conditions": [{"kind": "room_member_count", "is": 2}]}),
        ("override", "a", {"actions": [], "conditions": [{"kind": "room_member_count", "is": "=2"}]}),
        ("override", "a", {"actions": [], "conditions": [{"kind": "sender_notification_permission"}]}),
        ("content", "a", {"actions": []}),
        ("content", "a", {"actions": [], "pattern": 5}),
        ("content", "a", {"actions": [], "pattern": "x" * 501}),
    ],
)
def test_a_malformed_rule_is_refused(kind: str, rule_id: str, body: JsonObject) -> None:
    with pytest.raises(RuleError):
        parse_rule(kind, rule_id, body)


def test_conditions_of_unknown_kinds_are_kept_as_they_are() -> None:
    condition: JsonObject = {"kind": "org.example.moon_phase", "phase": "full"}
    rule = parse_rule("override", "a", {"actions": [], "conditions": [condition]})
    assert rule.to_json()["conditions"] == [condition]


def test_historical_actions_are_left_out() -> None:
    assert parse_actions(["dont_notify"]) == ()
    assert parse_actions(["coalesce", "notify"]) == ("notify",)


def test_default_rules_can_be_switched_and_changed_but_not_deleted() -> None:
    ruleset = set_enabled(Ruleset(), "override", ".m.rule.master", True)
    ruleset = set_actions(ruleset, "underride", ".m.rule.message", ())
    assert ruleset.find("override", ".m.rule.master").enabled
    assert ruleset.find("underride", ".m.rule.message").actions == ()
    with pytest.raises(RuleError):
        delete_rule(ruleset, "underride", ".m.rule.message")


def test_changing_a_default_rule_back_leaves_nothing_to_store() -> None:
    ruleset = set_enabled(Ruleset(), "override", ".m.rule.master", True)
    ruleset = set_actions(ruleset, "underride", ".m.rule.message", ())
    ruleset = set_enabled(ruleset, "override", ".m.rule.master", False)
    ruleset = set_actions(ruleset, "underride", ".m.rule.message", ("notify",))
    assert ruleset.to_stored() == Ruleset().to_stored() == {"rules": {}, "changes": {}}


def test_a_deleted_rule_is_gone_and_the_others_stay_in_order() -> None:
    ruleset = delete_rule(content_rules("a", "b", "c"), "content", "b")
    assert ids(ruleset, "content") == ["a", "c"]
    with pytest.raises(RuleNotFound):
        delete_rule(ruleset, "content", "b")


def test_the_rules_of_a_kind_are_found_only_under_that_kind() -> None:
    ruleset = content_rules("a")
    for kind, rule_id in [("override", "a"), ("underride", ".m.rule.master"), ("room", ".m.rule.message")]:
        with pytest.raises(RuleNotFound):
            set_enabled(ruleset, kind, rule_id, True)
        with pytest.raises(RuleNotFound):
            set_actions(ruleset, kind, rule_id, ())


def test_there_is_an_end_to_the_number_of_rules() -> None:
    ruleset = Ruleset()
    for number in range(MAX_RULES["content"]):
        ruleset = put(ruleset, "content", str(number))
    with pytest.raises(RuleError, match="the most there can be"):
        put(ruleset, "content", "one more")
    assert put(ruleset, "content", "7") == ruleset


def test_an_edit_leaves_the_older_ruleset_alone() -> None:
    before = content_rules("a")
    put(before, "content", "b")
    set_enabled(before, "override", ".m.rule.master", True)
    assert ids(before, "content") == ["a"]
    assert not before.find("override", ".m.rule.master").enabled


@st.composite
def rulesets(draw: st.DrawFn) -> Ruleset:
    ruleset = Ruleset()
    kinds = st.sampled_from(["override", "content", "room", "sender", "underride"])
    for _ in range(draw(st.integers(0, 12))):
        kind, rule_id = draw(kinds), draw(st.sampled_from("abcdefg"))
        ruleset = put(ruleset, kind, rule_id)
        if draw(st.booleans()):
            ruleset = set_enabled(ruleset, kind, rule_id, draw(st.booleans()))
    for rule_id in draw(st.sets(st.sampled_from([".m.rule.master", ".m.rule.reaction"]))):
        ruleset = set_enabled(ruleset, "override", rule_id, draw(st.booleans()))
        ruleset = set_actions(ruleset, "override", rule_id, ("notify", {"set_tweak": "highlight"}))
    return ruleset


@given(rulesets())
def test_what_is_stored_is_read_back_the_same(ruleset: Ruleset) -> None:
    stored = canonical_json.decode_object(canonical_json.encode(ruleset.to_stored()))
    read = Ruleset.from_stored(stored)
    assert read.to_client(ME) == ruleset.to_client(ME)
    assert read.to_stored() == stored
