"""What push rules decide about events. Specification: Client-Server API, "Push notifications"."""

from hypothesis import given
from hypothesis import strategies as st
from pytest import mark

from homeserver.core import canonical_json
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.push.evaluate import NOTHING, Actions, EventFacts, RoomContext, compile_ruleset
from homeserver.core.push.rules import Ruleset, parse_rule, put_rule, set_actions, set_enabled
from homeserver.core.room_rules import ROOM_RULES

ME, ALICE = "@me:example.org", "@alice:example.org"
ROOM = "!636q39766251:example.com"
BIG = RoomContext(joined_members=1000)


def event(
    content: JsonObject, event_type: str = "m.room.message", state_key: str | None = None, sender: str = ALICE
) -> Event:
    pdu: JsonObject = {
        "type": event_type,
        "sender": sender,
        "room_id": ROOM,
        "content": content,
        "depth": 7,
        "origin_server_ts": 1_432_735_824_653,
        "prev_events": [],
        "auth_events": [],
    }
    if state_key is not None:
        pdu["state_key"] = state_key
    return Event.load(canonical_json.encode(pdu), ROOM_RULES["11"], EventId("$143273582443PhrSn"))


def text(body: str, more: JsonObject | None = None) -> Event:
    return event({"msgtype": "m.text", "body": body, **(more or {})})


def decide(
    given_event: Event, ruleset: Ruleset | None = None, room: RoomContext = BIG, display_name: str | None = None
) -> Actions:
    return compile_ruleset(ME, ruleset or Ruleset()).evaluate(EventFacts(given_event, room), display_name)


def with_rule(kind: str, rule_id: str, body: JsonObject, ruleset: Ruleset | None = None) -> Ruleset:
    return put_rule(ruleset or Ruleset(), parse_rule(kind, rule_id, body))


def holds(condition: JsonObject, given_event: Event, room: RoomContext = BIG, name: str | None = None) -> bool:
    """Whether an override rule with this condition takes the event."""
    body: JsonObject = {"conditions": [condition], "actions": ["notify", {"set_tweak": "sound", "value": "found"}]}
    return decide(given_event, with_rule("override", "probe", body), room, name).sound == "found"


def match(key: str, pattern: str) -> JsonObject:
    return {"kind": "event_match", "key": key, "pattern": pattern}


# Default rules


def test_a_message_notifies_without_sound_in_a_group_and_with_sound_between_two() -> None:
    assert decide(text("hello")) == Actions(True, False, {})
    assert decide(text("hello"), room=RoomContext(2)) == Actions(True, False, {"sound": "default"})


def test_an_encrypted_event_notifies_like_a_message() -> None:
    encrypted = event({"algorithm": "m.megolm.v1.aes-sha2"}, "m.room.encrypted")
    assert decide(encrypted) == Actions(True, False, {})
    assert decide(encrypted, room=RoomContext(2)).sound == "default"


def test_nobody_is_notified_of_their_own_messages() -> None:
    own = event({"msgtype": "m.text", "body": "hello", "m.mentions": {"user_ids": [ME]}}, sender=ME)
    assert decide(own) is NOTHING


def test_a_mention_highlights_for_those_mentioned_only() -> None:
    facts = EventFacts(text("hello", {"m.mentions": {"user_ids": ["@bob:example.org", ME]}}), BIG)
    mentioned = compile_ruleset(ME, Ruleset()).evaluate(facts)
    assert mentioned == Actions(True, True, {"sound": "default", "highlight": True})
    assert compile_ruleset("@carol:example.org", Ruleset()).evaluate(facts) == Actions(True, False, {})
    assert compile_ruleset("@bob:example.org", Ruleset()).evaluate(facts).highlight


@mark.parametrize("mentions", [{"user_ids": ME}, {"user_ids": [ME.upper()]}, {"user_ids": {ME: True}}, ME, [ME], None])
def test_a_malformed_mention_is_none(mentions: JsonValue) -> None:
    assert not decide(text(f"hello {ME}", {"m.mentions": mentions})).highlight


def test_a_mention_of_the_room_needs_the_power_for_it() -> None:
    everybody = text("hello", {"m.mentions": {"room": True}})
    assert not decide(everybody, room=RoomContext(1000, sender_power=49)).highlight
    assert decide(everybody, room=RoomContext(1000, sender_power=50)).highlight
    assert decide(everybody, room=RoomContext(1000, sender_power=float("inf"))).highlight
    assert decide(everybody, room=RoomContext(1000, 20, {"room": 20})).highlight
    assert not decide(everybody, room=RoomContext(1000, 50, {"room": 60})).highlight
    assert not decide(text("hello", {"m.mentions": {"room": 1}}), room=RoomContext(1000, 50)).highlight


def test_an_invite_notifies_the_one_invited_and_no_other_membership_does() -> None:
    assert decide(event({"membership": "invite"}, "m.room.member", ME)) == Actions(True, False, {"sound": "default"})
    assert decide(event({"membership": "invite"}, "m.room.member", "@bob:example.org")) is NOTHING
    assert decide(event({"membership": "join"}, "m.room.member", ALICE)) is NOTHING


def test_a_tombstone_highlights_but_only_as_a_state_event() -> None:
    assert decide(event({}, "m.room.tombstone", "")).highlight
    assert decide(event({}, "m.room.tombstone")) is NOTHING
    assert decide(event({}, "m.room.tombstone", "other")) is NOTHING


def test_notices_reactions_edits_and_server_acls_are_silent() -> None:
    assert decide(event({"msgtype": "m.notice", "body": "beep"}), room=RoomContext(2)) is NOTHING
    assert decide(event({}, "m.reaction")) is NOTHING
    assert decide(event({}, "m.room.server_acl", "")) is NOTHING
    edit = text("* hello", {"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}})
    assert decide(edit, room=RoomContext(2)) is NOTHING


def test_a_mention_in_an_edit_still_notifies_for_its_rule_comes_first() -> None:
    edit = text("* hi", {"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}, "m.mentions": {"user_ids": [ME]}})
    assert decide(edit).highlight


def test_a_call_rings() -> None:
    assert decide(event({}, "m.call.invite")).sound == "ring"


def test_events_of_other_types_do_not_notify() -> None:
    assert decide(event({"body": "hello"}, "org.example.thing")) is NOTHING


def test_actions_are_written_as_a_list_that_means_the_same() -> None:
    highlighted = decide(text("hello", {"m.mentions": {"user_ids": [ME]}}))
    actions = highlighted.to_json()
    assert actions == ["notify", {"set_tweak": "sound", "value": "default"}, {"set_tweak": "highlight", "value": True}]
    assert decide(text("hello"), with_rule("override", "same", {"actions": actions})) == highlighted
    assert NOTHING.to_json() == []


# Order and edits


def test_the_master_rule_goes_before_the_users_own_rules() -> None:
    loud = with_rule("override", "loud", {"actions": ["notify"], "conditions": []})
    assert decide(event({}, "org.example.thing"), loud).notify
    assert decide(event({}, "org.example.thing"), set_enabled(loud, "override", ".m.rule.master", True)) is NOTHING


def test_kinds_are_asked_in_their_order() -> None:
    ruleset = Ruleset()
    ranks: list[tuple[str, str, JsonObject]] = [
        ("underride", "u", {"conditions": []}),
        ("sender", ALICE, {}),
        ("room", ROOM, {}),
        ("content", "c", {"pattern": "cake"}),
        ("override", "o", {"conditions": []}),
    ]
    for kind, rule_id, body in ranks:
        actions: list[JsonValue] = ["notify", {"set_tweak": "sound", "value": kind}]
        ruleset = with_rule(kind, rule_id, {**body, "actions": actions}, ruleset)
        assert decide(text("a cake"), ruleset).sound == kind
    for kind, rule_id, _ in reversed(ranks):
        assert decide(text("a cake"), ruleset).sound == kind
        ruleset = set_enabled(ruleset, kind, rule_id, False)
    assert decide(text("a cake"), ruleset) == Actions(True, False, {})


def test_the_more_important_of_two_rules_that_match_decides() -> None:
    # The example of the specification: a rule that supersedes another one by `before`.
    cake = with_rule("content", "cake", {"pattern": "cake", "actions": ["notify"]})
    lie = parse_rule("content", "lie", {"pattern": "cake*lie", "actions": []})
    ruleset = put_rule(cake, lie, before="cake")
    assert decide(text("the cake is a lie"), ruleset) is NOTHING
    assert decide(text("the cake is real"), ruleset).notify


def test_room_and_sender_rules_silence_what_they_name() -> None:
    assert decide(text("hello"), with_rule("room", ROOM, {"actions": []})) is NOTHING
    assert decide(text("hello"), with_rule("room", "!other:example.org", {"actions": []})).notify
    assert decide(text("hello"), with_rule("sender", ALICE, {"actions": ["dont_notify"]})) is NOTHING
    assert decide(text("hello"), with_rule("sender", "@bob:example.org", {"actions": []})).notify


def test_rules_that_mute_one_room_keep_their_place_among_the_others() -> None:
    def override(rule_id: str, ruleset: Ruleset, *conditions: JsonObject) -> Ruleset:
        tweak: JsonValue = {"set_tweak": "sound", "value": rule_id}
        return with_rule("override", rule_id, {"conditions": list(conditions), "actions": ["notify", tweak]}, ruleset)

    ruleset = override("last", Ruleset())
    ruleset = override("here", ruleset, match("room_id", ROOM), match("content.body", "hello"))
    ruleset = override("elsewhere", ruleset, match("room_id", "!other:example.org"))
    assert decide(text("hello"), ruleset).sound == "here"
    assert decide(text("good day"), ruleset).sound == "last"
    assert decide(text("hello"), override("first", ruleset)).sound == "first"


def test_changed_actions_of_a_default_rule_apply() -> None:
    ruleset = set_actions(Ruleset(), "underride", ".m.rule.message", ({"set_tweak": "highlight"}, "notify"))
    assert decide(text("hello"), ruleset).highlight
    assert decide(event({"msgtype": "m.notice"}), ruleset) is NOTHING


def test_a_default_rule_that_is_switched_off_does_not_match() -> None:
    ruleset = set_enabled(Ruleset(), "override", ".m.rule.suppress_notices", False)
    assert decide(event({"msgtype": "m.notice", "body": "beep"}), ruleset).notify


def test_a_highlight_may_be_given_as_false_and_is_nothing_without_notify() -> None:
    quiet = with_rule("override", "q", {"actions": ["notify", {"set_tweak": "highlight", "value": False}]})
    assert decide(text("hello"), quiet) == Actions(True, False, {"highlight": False})
    silent = with_rule("override", "s", {"actions": [{"set_tweak": "highlight"}]})
    assert decide(text("hello"), silent) is NOTHING


def test_tweaks_that_we_do_not_know_are_passed_on() -> None:
    flash: JsonValue = {"set_tweak": "org.example.flash", "value": [1, 2]}
    assert decide(text("hello"), with_rule("override", "f", {"actions": ["notify", flash]})).tweaks == {
        "org.example.flash": [1, 2]
    }


# Conditions: the examples of the specification


@mark.parametrize(
    ("topic", "matches"), [("Lunch plans", True), ("LUNCH", True), (" lunch", False), ("lunc", False), (None, False)]
)
def test_event_match_fits_the_whole_value_whatever_its_case(topic: JsonValue, matches: bool) -> None:
    assert holds(match("content.topic", "lunc?*"), event({"topic": topic}, "m.room.topic", "")) is matches


@mark.parametrize(
    ("body", "matches"),
    [
        ("An example event.", True),
        ("exple", True),
        ("An exciting triple-whammy", True),
        ("An inexact triple", False),
        ("An example_event", False),
        ("An examples", False),
        ("EX-PLE", True),
    ],
)
def test_event_match_on_the_body_fits_words_of_it(body: str, matches: bool) -> None:
    assert holds(match("content.body", "ex*ple"), text(body)) is matches
    rule = with_rule("content", "c", {"pattern": "ex*ple", "actions": ["notify", {"set_tweak": "highlight"}]})
    assert decide(text(body), rule).highlight is matches


def test_event_match_needs_a_text_to_be_there_even_for_a_star() -> None:
    assert not holds(match("content.topic", "*"), event({}))
    assert not holds(match("content.topic", "*"), event({"topic": 5}))
    assert not holds(match("state_key", "*"), event({}))
    assert holds(match("state_key", ""), event({}, "org.example.state", ""))
    assert not holds(match("state_key", ""), event({}))
    assert not holds(match("origin_server_ts", "*"), event({}))


@mark.parametrize(("value", "matches"), [(True, True), ("true", False), (1, False), (None, False), ([True], False)])
def test_event_property_is_compares_without_casting(value: JsonValue, matches: bool) -> None:
    condition: JsonObject = {"kind": "event_property_is", "key": "content.m\\.federate", "value": True}
    assert holds(condition, event({"m.federate": value}, "m.room.create", "")) is matches


def test_event_property_is_tells_null_from_absent() -> None:
    condition: JsonObject = {"kind": "event_property_is", "key": "content.thing", "value": None}
    assert holds(condition, event({"thing": None}))
    assert not holds(condition, event({}))


@mark.parametrize(
    ("value", "matches"), [("#myroom:example.com", True), (":example.com", False), ("#MYROOM:example.com", False)]
)
def test_event_property_contains_compares_exactly(value: str, matches: bool) -> None:
    condition: JsonObject = {"kind": "event_property_contains", "key": "content.alt_aliases", "value": value}
    aliases: JsonObject = {"alt_aliases": ["#somewhere:example.org", ["#x"], 5, "#myroom:example.com"]}
    assert holds(condition, event(aliases, "m.room.canonical_alias", "")) is matches
    assert not holds(condition, event({"alt_aliases": value}, "m.room.canonical_alias", ""))


def test_event_property_contains_tells_numbers_from_booleans() -> None:
    condition: JsonObject = {"kind": "event_property_contains", "key": "content.list", "value": 1}
    assert holds(condition, event({"list": [1]}))
    assert not holds(condition, event({"list": [True, "1", [1]]}))


@mark.parametrize(
    ("wanted", "fitting"),
    [("2", {2}), ("==2", {2}), ("<2", {0, 1}), (">2", {3, 4}), (">=2", {2, 3, 4}), ("<=2", {0, 1, 2})],
)
def test_room_member_count_compares(wanted: str, fitting: set[int]) -> None:
    condition: JsonObject = {"kind": "room_member_count", "is": wanted}
    assert {count for count in range(5) if holds(condition, text("x"), RoomContext(count))} == fitting


def test_the_display_name_is_found_as_words_whatever_its_case() -> None:
    condition: JsonObject = {"kind": "contains_display_name"}
    assert holds(condition, text("so, danny the KID, come here"), name="Danny the Kid")
    assert not holds(condition, text("dannys"), name="Danny")
    assert not holds(condition, text("anything"), name=None)
    assert not holds(condition, text(""), name="")
    assert holds(condition, text("who is *?"), name="*")
    assert not holds(condition, text("who is that?"), name="*")


def test_an_evaluator_says_whether_it_needs_the_display_name() -> None:
    rule = with_rule("override", "n", {"conditions": [{"kind": "contains_display_name"}], "actions": ["notify"]})
    assert compile_ruleset(ME, rule).needs_display_name
    assert not compile_ruleset(ME, set_enabled(rule, "override", "n", False)).needs_display_name
    assert not compile_ruleset(ME, Ruleset()).needs_display_name


def test_a_sender_without_the_power_for_a_notification_fails_the_condition() -> None:
    condition: JsonObject = {"kind": "sender_notification_permission", "key": "org.example.bell"}
    assert holds(condition, text("x"), RoomContext(9, 10, {"org.example.bell": 10}))
    assert not holds(condition, text("x"), RoomContext(9, 9, {"org.example.bell": 10}))


def test_an_unknown_condition_never_holds() -> None:
    assert not holds({"kind": "org.example.moon_phase"}, text("x"))


def test_the_stand_in_for_the_user_means_nothing_in_a_users_own_rule() -> None:
    stand_in = "[the user's Matrix ID]"
    assert not holds(match("content.who", stand_in), event({"who": ME}))
    assert holds(match("content.who", stand_in), event({"who": stand_in}))
    condition: JsonObject = {"kind": "event_property_contains", "key": "content.who", "value": stand_in}
    assert not holds(condition, event({"who": [ME]}))


def test_a_body_that_is_no_text_and_deep_content_do_no_harm() -> None:
    deep: JsonValue = {}
    for _ in range(90):
        deep = {"body": deep}
    assert decide(event({"msgtype": "m.text", "body": deep})).notify
    assert not holds(match("content.body", "*"), event({"body": deep}))


bodies = st.text(alphabet="ab -_.*?", max_size=12)


@given(st.lists(st.sampled_from(["m.text", "m.notice", "m.emote"]), min_size=1), st.lists(bodies, min_size=1))
def test_users_who_share_the_facts_of_an_event_get_what_they_get_alone(msgtypes: list[str], words: list[str]) -> None:
    people = [f"@{number}:example.org" for number in range(4)]
    for msgtype in msgtypes:
        said = event({"msgtype": msgtype, "body": words[-1], "m.mentions": {"user_ids": [people[0]]}})
        rules = [with_rule("content", "w", {"pattern": word, "actions": ["notify"]}) for word in words]
        evaluators = [compile_ruleset(user, rule) for user in people for rule in (Ruleset(), *rules)]
        shared = EventFacts(said, BIG)
        alone = [evaluator.evaluate(EventFacts(said, BIG)) for evaluator in evaluators]
        assert [evaluator.evaluate(shared) for evaluator in evaluators] == alone


@mark.parametrize(("first", "second"), [("typed", "general"), ("general", "typed")])
def test_rules_for_one_type_of_events_keep_their_place_among_the_others(first: str, second: str) -> None:
    conditions = {"typed": [match("type", "M.Room.Message")], "general": [match("content.body", "*word*")]}
    ruleset = Ruleset()
    for name in (second, first):  # what is put without a place comes first
        body: JsonObject = {
            "conditions": [*conditions[name]],
            "actions": ["notify", {"set_tweak": "sound", "value": name}],
        }
        ruleset = with_rule("override", name, body, ruleset)

    assert decide(text("a word"), ruleset).sound == first
    assert decide(event({"body": "a word"}, "org.example.other"), ruleset).sound == "general"
