"""Push rules. Specification: client-server API, "Push Rules: API"."""

from __future__ import annotations

import msgspec

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.rate import OTHER
from homeserver.users.push_rules import PushRules
from homeserver.web.decode import ValueField
from homeserver.web.endpoint import USER, Requester, endpoint, endpoints

RULE = "/_matrix/client/v3/pushrules/global/{kind}/{rule_id}"


class PlaceQuery(msgspec.Struct, frozen=True):
    """Beside which rule of the user a new one goes."""

    before: str | None = None
    after: str | None = None


class EnabledBody(msgspec.Struct, frozen=True):
    """On or off."""

    enabled: bool


class ActionsBody(msgspec.Struct, frozen=True):
    """What the rule does."""

    actions: ValueField


@endpoint("GET", "/_matrix/client/v3/pushrules/", access=USER)
async def push_rules(rules: PushRules, who: Requester) -> bytes:
    """All push rules of the user."""
    return await rules.content(who.user_id)


@endpoint("GET", "/_matrix/client/v3/pushrules/global/", access=USER)
async def global_push_rules(rules: PushRules, who: Requester) -> JsonObject:
    """All push rules of the user, by kind."""
    return await rules.everything(who.user_id)


@endpoint("GET", RULE, access=USER)
async def push_rule(rules: PushRules, who: Requester, kind: str, rule_id: str) -> JsonObject:
    """One rule."""
    return await rules.rule(who.user_id, kind, rule_id)


@endpoint("PUT", RULE, access=USER, limit=OTHER)
async def put_push_rule(
    rules: PushRules, who: Requester, kind: str, rule_id: str, query: PlaceQuery, content: JsonObject
) -> None:
    """Add a rule, or change one."""
    await rules.put(who.user_id, kind, rule_id, content, before=query.before, after=query.after)


@endpoint("DELETE", RULE, access=USER, limit=OTHER)
async def delete_push_rule(rules: PushRules, who: Requester, kind: str, rule_id: str) -> None:
    """Remove a rule."""
    await rules.delete(who.user_id, kind, rule_id)


@endpoint("GET", RULE + "/enabled", access=USER)
async def is_push_rule_enabled(rules: PushRules, who: Requester, kind: str, rule_id: str) -> dict[str, JsonValue]:
    """Whether a rule is on."""
    return {"enabled": (await rules.rule(who.user_id, kind, rule_id))["enabled"]}


@endpoint("PUT", RULE + "/enabled", access=USER, limit=OTHER)
async def enable_push_rule(rules: PushRules, who: Requester, kind: str, rule_id: str, body: EnabledBody) -> None:
    """Switch a rule on or off."""
    await rules.set_enabled(who.user_id, kind, rule_id, body.enabled)


@endpoint("GET", RULE + "/actions", access=USER)
async def push_rule_actions(rules: PushRules, who: Requester, kind: str, rule_id: str) -> dict[str, JsonValue]:
    """What a rule does."""
    return {"actions": (await rules.rule(who.user_id, kind, rule_id))["actions"]}


@endpoint("PUT", RULE + "/actions", access=USER, limit=OTHER)
async def set_push_rule_actions(rules: PushRules, who: Requester, kind: str, rule_id: str, body: ActionsBody) -> None:
    """Give a rule other actions."""
    await rules.set_actions(who.user_id, kind, rule_id, body.actions)


ENDPOINTS = endpoints(__name__)
