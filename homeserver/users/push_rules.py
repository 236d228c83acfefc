"""Push rules of users: as they are edited, as clients see them, and compiled for those who evaluate them.

Only what a user changed is stored, as the account data m.push_rules; whoever shows it asks for `content` instead.
A follower of the ring: a change counts at once, whoever made it.
Specification: client-server API, "Push Rules"; `/_matrix/client/v3/pushrules/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec
import structlog

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.push import rules
from homeserver.core.push.evaluate import Evaluator, compile_ruleset
from homeserver.core.push.rules import NeighbourNotFound, RuleError, RuleNotFound, Ruleset
from homeserver.runtime.log import Ring, Writer
from homeserver.runtime.lru import Lru
from homeserver.runtime.turns import Turns
from homeserver.web.errors import BadRequest, MissingParam, NotFound
from storage import account_data as account_data_table
from storage.database import Database
from storage.rows import AccountDataRow, Entry

PUSH_RULES: Final = "m.push_rules"
MAX_CACHED: Final = 20_000
MAX_ENCODED: Final = 200

log: Final = structlog.get_logger("homeserver.users")


class _UserRules:
    """The rules of one user, and what was made of them."""

    __slots__ = ("evaluator", "ruleset")

    def __init__(self, ruleset: Ruleset) -> None:
        self.ruleset = ruleset
        self.evaluator: Evaluator | None = None


class PushRules:
    """Knows the push rules of users."""

    def __init__(self, database: Database, writer: Writer, ring: Ring) -> None:
        self._database = database
        self._writer = writer
        self._users: Lru[str, _UserRules] = Lru(MAX_CACHED)
        self._contents: Lru[str, bytes] = Lru(MAX_ENCODED)
        """Some kilobytes each, and asked for only when a client starts."""
        self._turns: Turns[str] = Turns()
        ring.subscribe(self._published, AccountDataRow)

    async def evaluator(self, user_id: str) -> Evaluator:
        """The user's rules, ready to be asked about events."""
        user = await self._of(user_id)
        if user.evaluator is None:
            user.evaluator = compile_ruleset(user_id, user.ruleset)
        return user.evaluator

    async def content(self, user_id: str) -> bytes:
        """The encoded content of m.push_rules as clients get it, default rules included. GET /pushrules/."""
        user = await self._of(user_id)
        content = self._contents.get(user_id)
        if content is None:
            content = msgspec.json.encode({"global": user.ruleset.to_client(user_id)})
            self._contents.put(user_id, content)
        return content

    async def everything(self, user_id: str) -> JsonObject:
        """All rules by kind. GET /pushrules/global/."""
        return (await self._of(user_id)).ruleset.to_client(user_id)

    async def rule(self, user_id: str, kind: str, rule_id: str) -> JsonObject:
        """One rule. GET /pushrules/global/{kind}/{ruleId}."""
        ruleset = (await self._of(user_id)).ruleset
        with _refusing():
            return Ruleset.rule_to_client(ruleset.find(kind, rule_id), user_id)

    async def put(
        self, user_id: str, kind: str, rule_id: str, body: JsonObject, *, before: str | None, after: str | None
    ) -> None:
        """Add a rule or change one. PUT /pushrules/global/{kind}/{ruleId}."""
        with _refusing():
            if "actions" not in body:
                raise MissingParam("The rule has no actions.")
            rule = rules.parse_rule(kind, rule_id, body)
        await self._edit(user_id, lambda old: rules.put_rule(old, rule, before=before, after=after))

    async def delete(self, user_id: str, kind: str, rule_id: str) -> None:
        """Remove a rule. DELETE /pushrules/global/{kind}/{ruleId}."""
        await self._edit(user_id, lambda old: rules.delete_rule(old, kind, rule_id))

    async def set_enabled(self, user_id: str, kind: str, rule_id: str, enabled: bool) -> None:
        """Switch a rule on or off. PUT …/enabled."""
        await self._edit(user_id, lambda old: rules.set_enabled(old, kind, rule_id, enabled))

    async def set_actions(self, user_id: str, kind: str, rule_id: str, actions: JsonValue) -> None:
        """Give a rule other actions. PUT …/actions."""
        with _refusing():
            parsed = rules.parse_actions(actions)
        await self._edit(user_id, lambda old: rules.set_actions(old, kind, rule_id, parsed))

    async def _edit(self, user_id: str, edit: Callable[[Ruleset], Ruleset]) -> None:
        async with self._turns.at(user_id):
            old = (await self._of(user_id)).ruleset
            with _refusing():
                new = edit(old)
            if new != old:
                json = msgspec.json.encode(new.to_stored())
                await self._writer.append([AccountDataRow(user_id, "", PUSH_RULES, json)])

    async def _of(self, user_id: str) -> _UserRules:
        user = self._users.get(user_id)
        if user is None:
            stored = await self._database.read(account_data_table.one, user_id, "", PUSH_RULES)
            user = self._users.get(user_id)
            # What was published while we read is newer than what we read.
            if user is None:
                user = _UserRules(_ruleset_of(user_id, stored))
                self._users.put(user_id, user)
        return user

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, AccountDataRow) and entry.type == PUSH_RULES and entry.room_id == "":
                self._contents.discard(entry.user_id)
                self._users.put(entry.user_id, _UserRules(_ruleset_of(entry.user_id, entry.json)))


def _ruleset_of(user_id: str, stored: bytes | None) -> Ruleset:
    if stored is None:
        return Ruleset()
    try:
        return Ruleset.from_stored(msgspec.json.decode(stored))
    except (RuleError, msgspec.DecodeError) as error:
        # Better the default rules than no answers for this user at all.
        log.error("the stored push rules of a user cannot be read", user=user_id, reason=str(error))
        return Ruleset()


@contextmanager
def _refusing() -> Iterator[None]:
    """Turns refusals of the rules into answers."""
    try:
        yield
    except RuleNotFound as error:
        raise NotFound(str(error)) from None
    except NeighbourNotFound as error:
        raise BadRequest(str(error), error.errcode) from None
    except RuleError as error:
        raise BadRequest(str(error), error.errcode) from None
