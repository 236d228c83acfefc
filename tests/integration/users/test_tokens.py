"""Tokens, push rules and filters as those who use them inside the server see them."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred

from homeserver.core.ids import UserId
from homeserver.core.push.evaluate import Evaluator
from homeserver.runtime.clock import ReactorClock
from homeserver.runtime.log import Ring, Writer
from homeserver.users.filters import Filters
from homeserver.users.new_devices import NewDevices
from homeserver.users.push_rules import PushRules
from homeserver.users.sessions import NewSession, Sessions, write_session
from homeserver.users.tokens import Tokens
from homeserver.web.access import Requester, hash_token
from homeserver.web.errors import NotFound, UnknownToken
from storage import accounts as account_table
from storage.accounts import Account
from storage.database import Database
from storage.persist import PERSIST
from tests.postgres import FreshDatabase
from tests.reactors import run_on_reactor

T = TypeVar("T")
ROMEO = UserId("@romeo:verona.example")


class Lodge:
    """What keeps the sessions of users."""

    def __init__(self, dsn: str, reactor: Any) -> None:
        self.database = Database(dsn, reactor)
        self.ring = Ring()
        self.writer = Writer(self.database, self.ring, PERSIST, reactor)
        self.clock = ReactorClock(reactor)
        self.tokens = Tokens(self.database, self.clock, max_cached=2)
        self.sessions = Sessions(self.database, self.writer, self.ring, self.tokens, NewDevices(), self.clock)

    async def logs_in(self, device_id: str) -> tuple[NewSession, int]:
        """A session at a device, and the number of the device."""
        new = self.sessions.prepare(ROMEO, device_id, None)
        written = await self.database.write(write_session, new)
        self.sessions.written(written)
        return new, written.device


def at_lodge(dsn: str, story: Callable[[Lodge], Awaitable[T]]) -> T:
    """Tell a story with a user who has an account."""

    async def told(reactor: Any) -> T:
        lodge = Lodge(dsn, reactor)
        await lodge.database.start()
        await lodge.writer.start()
        try:
            await lodge.database.write(account_table.insert, Account(ROMEO, None, 1))
            return await story(lodge)
        finally:
            await lodge.writer.stop()
            await lodge.database.stop()

    return run_on_reactor(told)


def test_a_token_is_looked_up_once_and_then_known(fresh_database: FreshDatabase) -> None:
    async def story(lodge: Lodge) -> None:
        new, device = await lodge.logs_in("A")
        token_hash = hash_token(new.access_token)
        assert lodge.tokens.cached(token_hash) is None
        found = await lodge.tokens.resolve(token_hash)
        assert (found.user_id, found.device_id, found.device_number) == (ROMEO, "A", device)
        statements = lodge.database.statements.total
        assert lodge.tokens.cached(token_hash) is found
        assert lodge.database.statements.total == statements

    at_lodge(fresh_database(), story)


def test_an_expired_token_is_a_soft_logout_and_can_be_refreshed(fresh_database: FreshDatabase) -> None:
    async def story(lodge: Lodge) -> None:
        brief = Sessions(
            lodge.database, lodge.writer, lodge.ring, lodge.tokens, NewDevices(), lodge.clock, lifetime_ms=1
        )
        new = brief.prepare(ROMEO, "A", None, refreshable=True)
        await lodge.database.write(write_session, new)
        await lodge.clock.sleep(0.01)
        with pytest.raises(UnknownToken) as expired:
            await lodge.tokens.resolve(hash_token(new.access_token))
        assert expired.value.extra == {"soft_logout": True}
        assert new.refresh_token is not None
        refreshed = await lodge.sessions.refresh(new.refresh_token)
        found = await lodge.tokens.resolve(hash_token(refreshed.access_token))
        assert found.device_id == "A"

    at_lodge(fresh_database(), story)


def test_listeners_hear_of_each_device_that_is_logged_out(fresh_database: FreshDatabase) -> None:
    async def story(lodge: Lodge) -> None:
        sessions = [await lodge.logs_in(name) for name in ("A", "B", "C")]
        heard: list[int] = []
        lodge.tokens.on_revoked(heard.append)
        for new, _ in sessions:
            await lodge.tokens.resolve(hash_token(new.access_token))
        (first, first_device), (_, second_device), (third, third_device) = sessions
        await lodge.sessions.log_out(Requester(ROMEO, None, third_device, b""))
        assert heard == [third_device]
        assert lodge.tokens.cached(hash_token(third.access_token)) is None
        await lodge.sessions.log_out_everywhere(ROMEO, but=first_device)
        assert heard == [third_device, second_device]
        assert (await lodge.tokens.resolve(hash_token(first.access_token))).device_number == first_device
        with pytest.raises(UnknownToken):
            await lodge.tokens.resolve(hash_token(third.access_token))

    at_lodge(fresh_database(), story)


def test_a_token_that_is_taken_back_while_it_is_looked_up_is_not_believed(fresh_database: FreshDatabase) -> None:
    async def story(lodge: Lodge) -> None:
        new, device = await lodge.logs_in("A")
        token_hash = hash_token(new.access_token)
        looking = [Deferred.fromCoroutine(lodge.tokens.resolve(token_hash)) for _ in range(4)]
        await lodge.sessions.delete_devices(ROMEO, {device: "A"})
        for each in looking:
            with contextlib.suppress(UnknownToken):
                await each
        assert lodge.tokens.cached(token_hash) is None

    at_lodge(fresh_database(), story)


def test_a_user_who_becomes_an_admin_is_one_at_the_next_request(fresh_database: FreshDatabase) -> None:
    async def story(lodge: Lodge) -> None:
        new, _ = await lodge.logs_in("A")
        token_hash = hash_token(new.access_token)
        assert not (await lodge.tokens.resolve(token_hash)).is_admin
        await lodge.database.write(account_table.set_admin, ROMEO, True)
        lodge.tokens.forget_user(ROMEO)
        assert lodge.tokens.cached(token_hash) is None
        assert (await lodge.tokens.resolve(token_hash)).is_admin

    at_lodge(fresh_database(), story)


def test_compiled_push_rules_follow_the_edits_of_the_user(fresh_database: FreshDatabase) -> None:
    async def story(lodge: Lodge) -> None:
        rules = PushRules(lodge.database, lodge.writer, lodge.ring)
        before = await rules.evaluator(ROMEO)
        assert isinstance(before, Evaluator) and not before.needs_display_name
        assert await rules.evaluator(ROMEO) is before
        condition = {"kind": "contains_display_name"}
        body = {"conditions": [condition], "actions": ["notify"]}
        await rules.put(ROMEO, "override", "my.name", body, before=None, after=None)  # type: ignore[arg-type]
        assert (await rules.evaluator(ROMEO)).needs_display_name
        assert b"my.name" in await rules.content(ROMEO)

    at_lodge(fresh_database(), story)


def test_a_deposited_filter_is_ready_for_use_by_its_user_alone(fresh_database: FreshDatabase) -> None:
    async def story(lodge: Lodge) -> None:
        filters = Filters(lodge.database)
        who = Requester(ROMEO, None, 1, b"")
        filter_id = await filters.put(who, ROMEO, {"room": {"timeline": {"limit": 3}}})
        compiled = await filters.compiled(ROMEO, filter_id)
        assert compiled.room_timeline.limit == 3
        assert await filters.compiled(ROMEO, filter_id) is compiled
        with pytest.raises(NotFound):
            await filters.compiled("@juliet:verona.example", filter_id)

    at_lodge(fresh_database(), story)
