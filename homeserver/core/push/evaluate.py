"""Decides what push rules say about an event: a user's ruleset is compiled once to an Evaluator, which is then asked.

What makes it fast: the checks that do not depend on the user are asked once an event, and the default rules, which
nearly all users share, are one Plan that is narrowed once an event to the few rules still in question (for an ordinary
message one). Room and sender rules are look-ups by ID, and so are the override rules by which clients mute a room,
and all that are for events of one type.

Specification: Client-Server API, "Push notifications", "Push Rules".
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from homeserver.core import glob
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.push.conditions import BODY, concerns_any_user, event_match, personal_check, shared_check
from homeserver.core.push.default_rules import MASTER
from homeserver.core.push.facts import (
    Actions,
    CompiledRule,
    EventFacts,
    Person,
    PersonalCheck,
    RoomContext,
    SharedCheck,
)
from homeserver.core.push.rules import DEFAULTS, Rule, Ruleset

__all__ = ["NOTHING", "Actions", "Evaluator", "EventFacts", "RoomContext", "compile_ruleset"]

NOTHING = Actions(notify=False, highlight=False, tweaks=MappingProxyType({}))
"""No notification."""


class Plan:
    """Some rules in their order. Compared by identity, so that EventFacts can remember what it leaves in question."""

    __slots__ = ("_by_room", "_by_type", "_general", "shared")

    def __init__(self, rules: Sequence[Rule], *, shared: bool = False) -> None:
        self.shared = shared
        self._general: list[tuple[int, CompiledRule]] = []
        self._by_type: dict[str, list[tuple[int, CompiledRule]]] = {}
        self._by_room: dict[str, list[tuple[int, CompiledRule]]] = {}
        for number, rule in enumerate(rules):
            room_id, event_type = _only(rule, "room_id"), _only(rule, "type")
            if room_id is not None:
                place = self._by_room.setdefault(room_id, [])
            elif event_type is not None:
                place = self._by_type.setdefault(event_type, [])
            else:
                place = self._general
            place.append((number, _compile(rule)))
        for own in self._by_type.values():
            own[:] = sorted(self._general + own, key=_number)

    def narrow(self, facts: EventFacts) -> tuple[CompiledRule, ...]:
        """The rules that this event leaves in question, up to the first that holds for everybody."""
        numbered = self._by_type.get(facts.event.type.lower(), self._general)
        if self._by_room:
            here = self._by_room.get(facts.room_id.lower())
            if here:
                numbered = sorted(numbered + here, key=_number)
        left: list[CompiledRule] = []
        for _, rule in numbered:
            for check in rule.shared:
                if not check(facts):
                    break
            else:
                left.append(rule)
                if not rule.personal:
                    break
        return tuple(left)


class Evaluator:
    """The compiled ruleset of one user."""

    __slots__ = ("_after", "_before", "_master", "_rooms", "_senders", "needs_display_name", "user_id")

    def __init__(self, user_id: str, ruleset: Ruleset) -> None:
        self.user_id = user_id
        enabled = {kind: [rule for rule in rules if rule.enabled] for kind, rules in ruleset.own.items()}
        content = enabled.get("content", [])
        self._master = next(
            (outcome_of(rule.actions) for rule in ruleset.default_rules("override") if _is_enabled_master(rule)), None
        )
        self._before = _plans(
            enabled.get("override", []), _defaults(ruleset, "override"), Plan(content) if content else None
        )
        self._after = _plans(enabled.get("underride", []), _defaults(ruleset, "underride"))
        self._rooms = {rule.rule_id: outcome_of(rule.actions) for rule in enabled.get("room", [])}
        self._senders = {rule.rule_id: outcome_of(rule.actions) for rule in enabled.get("sender", [])}
        self.needs_display_name = any(
            condition.get("kind") == "contains_display_name"
            for rules in enabled.values()
            for rule in rules
            for condition in rule.conditions
        )

    def evaluate(self, facts: EventFacts, display_name: str | None = None) -> Actions:
        """What to do about this event for this user.

        `display_name` is the user's name in the room; it is asked for only if `needs_display_name`.
        """
        # Nobody is notified of what they did themselves.
        if facts.sender == self.user_id:
            return NOTHING
        if self._master is not None:
            return self._master
        actions = self._first(self._before, facts, display_name)
        if actions is None and self._rooms:
            actions = self._rooms.get(facts.room_id)
        if actions is None and self._senders:
            actions = self._senders.get(facts.sender)
        if actions is None:
            actions = self._first(self._after, facts, display_name)
        return NOTHING if actions is None else actions

    def _first(self, plans: tuple[Plan, ...], facts: EventFacts, display_name: str | None) -> Actions | None:
        """The actions of the first rule that holds, if one does."""
        for plan in plans:
            for rule in facts.narrowed(plan) if plan.shared else plan.narrow(facts):
                if not rule.personal:
                    return rule.actions
                person = Person(self.user_id, display_name)
                if all(check(facts, person) for check in rule.personal):
                    return rule.actions
        return None


def compile_ruleset(user_id: str, ruleset: Ruleset) -> Evaluator:
    """Make a user's rules ready to be asked many times."""
    return Evaluator(user_id, ruleset)


def outcome_of(actions: Iterable[JsonValue]) -> Actions:
    """What a rule's list of actions asks for. Only what notifies can highlight: the rest is shown nowhere."""
    notify = False
    tweaks: dict[str, JsonValue] = {}
    for action in actions:
        if action == "notify":
            notify = True
        elif isinstance(action, dict) and isinstance(name := action.get("set_tweak"), str):
            if "value" in action:
                tweaks[name] = action["value"]
            elif name == "highlight":
                tweaks[name] = True
    if not notify:
        return NOTHING
    return Actions(True, tweaks.get("highlight") is True, MappingProxyType(tweaks))


def _is_enabled_master(rule: Rule) -> bool:
    return rule.rule_id == MASTER and rule.enabled


def _plans(own: Sequence[Rule], *others: Plan | None) -> tuple[Plan, ...]:
    first = (Plan(own),) if own else ()
    return first + tuple(plan for plan in others if plan is not None)


def _defaults(ruleset: Ruleset, kind: str) -> Plan:
    """The plan of the default rules of a kind: the one that is common to all, if the user changed none of them."""
    if any(rule.rule_id in ruleset.changes for rule in DEFAULTS[kind] if rule.rule_id != MASTER):
        return Plan(_without_master(ruleset.default_rules(kind)))
    return _DEFAULT_PLANS[kind]


def _without_master(rules: Iterable[Rule]) -> list[Rule]:
    return [rule for rule in rules if rule.enabled and rule.rule_id != MASTER]


def _only(rule: Rule, key: str) -> str | None:
    """The room or type (in lower case) to which a condition confines the rule; clients mute rooms that way."""
    for condition in rule.conditions:
        pattern = condition.get("pattern")
        if condition.get("kind") == "event_match" and condition.get("key") == key and isinstance(pattern, str):
            return None if glob.has_wildcard(pattern) else pattern.lower()
    return None


def _number(numbered: tuple[int, CompiledRule]) -> int:
    return numbered[0]


def _compile(rule: Rule) -> CompiledRule:
    if rule.kind == "content":
        return CompiledRule((event_match(BODY, rule.pattern or ""),), (), outcome_of(rule.actions))
    shared: list[SharedCheck] = []
    personal: list[PersonalCheck] = []
    for condition in rule.conditions:
        check = personal_check(condition, default=rule.default)
        if check is None:
            shared.append(shared_check(condition))
        else:
            personal.append(check)
            if rule.default:
                shared.extend(_gate(condition))
    return CompiledRule(tuple(shared), tuple(personal), outcome_of(rule.actions))


def _gate(condition: JsonObject) -> list[SharedCheck]:
    gate = concerns_any_user(condition)
    return [] if gate is None else [gate]


_DEFAULT_PLANS: Mapping[str, Plan] = MappingProxyType(
    {kind: Plan(_without_master(rules), shared=True) for kind, rules in DEFAULTS.items()}
)
