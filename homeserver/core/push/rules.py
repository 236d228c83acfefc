"""A user's push rules and the edits of them.

Only what the user changed is kept: their own rules, and for a default rule whether it is on and its actions, where
these differ from the default. So a default rule that a newer server brings reaches everybody, and the many users who
never touch their rules cost nothing. A ruleset is a value: an edit makes a new one.

Specification: Client-Server API, "Push notifications" and `/_matrix/client/v3/pushrules/`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.push.default_rules import DEFAULT_RULES, KINDS, MASTER, THE_USER

# Rules are asked for every event. Those for a room or a sender are found by a look-up, so there may be many.
MAX_RULES: Mapping[str, int] = MappingProxyType(
    {"override": 2_000, "content": 500, "room": 10_000, "sender": 10_000, "underride": 500}
)
MAX_CONDITIONS = 50
MAX_PATTERN_LENGTH = 500
MAX_RULE_ID_LENGTH = 1_000

_MEMBER_COUNT = re.compile(r"(==|<=|>=|<|>)?[0-9]{1,15}")
_KINDS_WITH_KEY = frozenset(
    {"event_match", "event_property_is", "event_property_contains", "sender_notification_permission"}
)
_HISTORICAL_ACTIONS = frozenset({"dont_notify", "coalesce"})


class RuleError(ValueError):
    """A request about push rules that cannot be done. Its text is for the client."""

    errcode = "M_INVALID_PARAM"


class RuleNotFound(RuleError):
    """There is no such rule."""

    errcode = "M_NOT_FOUND"


class NeighbourNotFound(RuleError):
    """The rule before or after which the new one should stand is not among the user's own."""

    errcode = "M_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Rule:
    """One push rule. `conditions` belong to override and underride rules, `pattern` to content rules."""

    kind: str
    rule_id: str
    actions: tuple[JsonValue, ...]
    conditions: tuple[JsonObject, ...] = ()
    pattern: str | None = None
    enabled: bool = True
    default: bool = False

    def to_json(self) -> JsonObject:
        """The rule as clients see it: specification, "PushRule"."""
        json: JsonObject = {
            "rule_id": self.rule_id,
            "default": self.default,
            "enabled": self.enabled,
            "actions": list(self.actions),
        }
        if self.kind in ("override", "underride"):
            json["conditions"] = list(self.conditions)
        elif self.pattern is not None:
            json["pattern"] = self.pattern
        return json


@dataclass(frozen=True, slots=True)
class DefaultChange:
    """What a user changed about a default rule; None is: nothing."""

    enabled: bool | None = None
    actions: tuple[JsonValue, ...] | None = None


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All that a user changed. `own` holds their rules by kind, the most important first."""

    own: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    changes: Mapping[str, DefaultChange] = field(default_factory=dict)

    def rules(self, kind: str) -> Iterator[Rule]:
        """The rules of a kind in the order in which they are checked, the defaults as the user changed them.

        In default rules THE_USER stands for the user's ID.
        """
        # User-defined rules go before default rules, but for the master rule, which goes before all.
        defaults = list(self.default_rules(kind))
        if defaults and defaults[0].rule_id == MASTER:
            yield defaults.pop(0)
        yield from self.own.get(kind, ())
        yield from defaults

    def default_rules(self, kind: str) -> Iterator[Rule]:
        """The default rules of a kind, as this user changed them."""
        for rule in DEFAULTS.get(kind, ()):
            change = self.changes.get(rule.rule_id)
            if change is None:
                yield rule
            else:
                yield replace(
                    rule,
                    enabled=rule.enabled if change.enabled is None else change.enabled,
                    actions=rule.actions if change.actions is None else change.actions,
                )

    def find(self, kind: str, rule_id: str) -> Rule:
        """The rule of that kind and ID, or RuleNotFound."""
        check_kind(kind)
        for rule in self.rules(kind):
            if rule.rule_id == rule_id:
                return rule
        raise RuleNotFound("The push rule was not found.")

    def to_client(self, user_id: str) -> JsonObject:
        """The whole ruleset as clients see it: what stands under `global` in `/pushrules/` and in `m.push_rules`."""
        return {kind: [self.rule_to_client(rule, user_id) for rule in self.rules(kind)] for kind in KINDS}

    @staticmethod
    def rule_to_client(rule: Rule, user_id: str) -> JsonObject:
        """One rule as clients see it, with the user's ID where a default rule speaks of the user."""
        json = rule.to_json()
        if rule.default:
            json["conditions"] = [
                {name: user_id if value == THE_USER else value for name, value in condition.items()}
                for condition in rule.conditions
            ]
        return json

    def to_stored(self) -> JsonObject:
        """The user's changes as JSON, to be kept. Read back by `from_stored`."""
        rules: JsonObject = {kind: [rule.to_json() for rule in own] for kind, own in self.own.items() if own}
        changes: JsonObject = {}
        for rule_id, change in self.changes.items():
            kept: JsonObject = {}
            if change.enabled is not None:
                kept["enabled"] = change.enabled
            if change.actions is not None:
                kept["actions"] = list(change.actions)
            changes[rule_id] = kept
        return {"rules": rules, "changes": changes}

    @classmethod
    def from_stored(cls, stored: JsonObject) -> "Ruleset":
        """The ruleset that `to_stored` wrote. Anything that does not fit is an error of the store: RuleError."""
        own: dict[str, tuple[Rule, ...]] = {}
        for kind, rules in _object(stored.get("rules", {}), "rules").items():
            check_kind(kind)
            if not isinstance(rules, list):
                raise RuleError(f"The stored push rules of kind {kind} are not a list.")
            own[kind] = tuple(_stored_rule(kind, _object(rule, "a rule")) for rule in rules)
        changes: dict[str, DefaultChange] = {}
        for rule_id, json in _object(stored.get("changes", {}), "changes").items():
            change = _object(json, "a change")
            enabled = change.get("enabled")
            changes[rule_id] = DefaultChange(
                enabled=enabled if isinstance(enabled, bool) else None,
                actions=parse_actions(change["actions"]) if "actions" in change else None,
            )
        return cls(own, changes)


def check_kind(kind: str) -> None:
    """Raise RuleError unless there is such a kind of rule."""
    if kind not in KINDS:
        raise RuleError(f"There is no kind of push rule named {kind!r}; the kinds are {', '.join(KINDS)}.")


def parse_rule(kind: str, rule_id: str, body: JsonObject) -> Rule:
    """The rule in the body of `PUT /pushrules/global/{kind}/{ruleId}`; raises RuleError if it is not one."""
    check_kind(kind)
    if not rule_id or len(rule_id) > MAX_RULE_ID_LENGTH:
        raise RuleError(f"A rule ID has 1 to {MAX_RULE_ID_LENGTH} characters.")
    if rule_id.startswith("."):
        raise RuleError("Rule IDs that start with a dot are reserved for the server's default rules.")
    if "/" in rule_id or "\\" in rule_id:
        raise RuleError("A rule ID must not contain a slash or a backslash.")
    if "actions" not in body:
        raise RuleError("The rule has no actions.")
    actions = parse_actions(body["actions"])
    if kind in ("override", "underride"):
        return Rule(kind, rule_id, actions, conditions=_parse_conditions(body.get("conditions", [])))
    if kind == "content":
        return Rule(kind, rule_id, actions, pattern=_parse_pattern(body.get("pattern")))
    return Rule(kind, rule_id, actions)


def parse_actions(actions: JsonValue) -> tuple[JsonValue, ...]:
    """A list of actions, without the historical ones, which do nothing; raises RuleError if it is not such a list."""
    if not isinstance(actions, list):
        raise RuleError("The actions of a push rule must be a list.")
    kept: list[JsonValue] = []
    for action in actions:
        if isinstance(action, str):
            if action in _HISTORICAL_ACTIONS:
                continue
            if action != "notify":
                raise RuleError(f"There is no push action named {action!r}.")
        elif not isinstance(action, dict) or not isinstance(action.get("set_tweak"), str):
            raise RuleError("A push action is 'notify' or an object with the text 'set_tweak'.")
        kept.append(action)
    return tuple(kept)


def put_rule(ruleset: Ruleset, rule: Rule, *, before: str | None = None, after: str | None = None) -> Ruleset:
    """Add the rule, or change the user's rule of the same kind and ID.

    `before` and `after` name another rule of the user, of the same kind: the new rule becomes the next more important
    than `before`, or the next less important than `after`; `before` wins. Without them a new rule becomes the most
    important, and a changed one keeps its place. A changed rule stays on or off as it was.
    """
    own = list(ruleset.own.get(rule.kind, ()))
    place = next((index for index, old in enumerate(own) if old.rule_id == rule.rule_id), None)
    if place is not None:
        rule = replace(rule, enabled=own.pop(place).enabled)
    elif len(own) >= MAX_RULES[rule.kind]:
        raise RuleError(f"You have {MAX_RULES[rule.kind]} push rules of this kind, which is the most there can be.")
    neighbour = before if before is not None else after
    if neighbour is None or (neighbour == rule.rule_id and place is not None):
        own.insert(place or 0, rule)
    else:
        at = next((index for index, other in enumerate(own) if other.rule_id == neighbour), None)
        if at is None:
            raise NeighbourNotFound(f"before/after rule not found: {neighbour}")
        own.insert(at if before is not None else at + 1, rule)
    return replace(ruleset, own={**ruleset.own, rule.kind: tuple(own)})


def delete_rule(ruleset: Ruleset, kind: str, rule_id: str) -> Ruleset:
    """Without that rule of the user. Default rules cannot be deleted, only switched off."""
    if ruleset.find(kind, rule_id).default:
        raise RuleError("A default push rule cannot be deleted; it can be switched off.")
    kept = tuple(rule for rule in ruleset.own[kind] if rule.rule_id != rule_id)
    return replace(ruleset, own={**ruleset.own, kind: kept})


def set_enabled(ruleset: Ruleset, kind: str, rule_id: str, enabled: bool) -> Ruleset:
    """With that rule switched on or off."""
    rule = ruleset.find(kind, rule_id)
    if not rule.default:
        return _with_own(ruleset, replace(rule, enabled=enabled))
    change = ruleset.changes.get(rule_id, DefaultChange())
    same = enabled == _default(kind, rule_id).enabled
    return _with_change(ruleset, rule_id, replace(change, enabled=None if same else enabled))


def set_actions(ruleset: Ruleset, kind: str, rule_id: str, actions: tuple[JsonValue, ...]) -> Ruleset:
    """With these actions at that rule (see `parse_actions`)."""
    rule = ruleset.find(kind, rule_id)
    if not rule.default:
        return _with_own(ruleset, replace(rule, actions=actions))
    change = ruleset.changes.get(rule_id, DefaultChange())
    same = actions == _default(kind, rule_id).actions
    return _with_change(ruleset, rule_id, replace(change, actions=None if same else actions))


def _with_own(ruleset: Ruleset, rule: Rule) -> Ruleset:
    own = tuple(rule if old.rule_id == rule.rule_id else old for old in ruleset.own[rule.kind])
    return replace(ruleset, own={**ruleset.own, rule.kind: own})


def _with_change(ruleset: Ruleset, rule_id: str, change: DefaultChange) -> Ruleset:
    changes = {**ruleset.changes, rule_id: change}
    if change == DefaultChange():
        del changes[rule_id]
    return replace(ruleset, changes=changes)


def _default(kind: str, rule_id: str) -> Rule:
    return next(rule for rule in DEFAULTS[kind] if rule.rule_id == rule_id)


def _parse_conditions(conditions: JsonValue) -> tuple[JsonObject, ...]:
    if not isinstance(conditions, list) or len(conditions) > MAX_CONDITIONS:
        raise RuleError(f"The conditions of a push rule must be a list of at most {MAX_CONDITIONS}.")
    return tuple(_check_condition(condition) for condition in conditions)


def _check_condition(condition: JsonValue) -> JsonObject:
    """A condition of a known kind must have what it needs; one of an unknown kind is kept, and matches nothing."""
    if not isinstance(condition, dict):
        raise RuleError("Each condition of a push rule must be an object.")
    kind = condition.get("kind")
    if not isinstance(kind, str):
        raise RuleError("A condition of a push rule needs a 'kind'.")
    if kind in _KINDS_WITH_KEY and not isinstance(condition.get("key"), str):
        raise RuleError(f"The condition {kind} needs a 'key'.")
    if kind == "event_match":
        _parse_pattern(condition.get("pattern"))
    elif kind in ("event_property_is", "event_property_contains"):
        if "value" not in condition or isinstance(condition["value"], (dict, list)):
            raise RuleError(f"The condition {kind} needs a 'value' that is a string, an integer, a boolean or null.")
    elif kind == "room_member_count":
        count = condition.get("is")
        if not isinstance(count, str) or not _MEMBER_COUNT.fullmatch(count):
            raise RuleError("The condition room_member_count needs 'is': a number, with ==, <, >, >= or <= before it.")
    return condition


def _parse_pattern(pattern: JsonValue) -> str:
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN_LENGTH:
        raise RuleError(f"A 'pattern' is needed here: a text of at most {MAX_PATTERN_LENGTH} characters.")
    return pattern


def _object(value: JsonValue, what: str) -> JsonObject:
    if not isinstance(value, dict):
        raise RuleError(f"In the stored push rules, {what} should be an object.")
    return value


def _stored_rule(kind: str, json: JsonObject) -> Rule:
    rule = parse_rule(kind, str(json.get("rule_id", "")), json)
    return replace(rule, enabled=json.get("enabled") is not False)


def _read_defaults() -> Mapping[str, tuple[Rule, ...]]:
    read: dict[str, tuple[Rule, ...]] = {}
    for kind, rules in DEFAULT_RULES.items():
        read[kind] = tuple(
            Rule(
                kind,
                str(json["rule_id"]),
                parse_actions(json["actions"]),
                conditions=_parse_conditions(json["conditions"]),
                enabled=json["enabled"] is True,
                default=True,
            )
            for json in rules
        )
    return read


DEFAULTS: Mapping[str, tuple[Rule, ...]] = _read_defaults()
"""The default rules as Rule values, by kind."""
