"""What changes to accounts mean in rooms: names are shown, who is gone leaves, who wants no invites gets none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from homeserver.core.ids import ServerName, UserId
from homeserver.rooms.elsewhere import Nowhere
from homeserver.rooms.membership import MembershipChanges
from homeserver.rooms.wholeness import Wholeness
from homeserver.runtime.tasks import Tasks
from homeserver.users.invite_permission import InvitePermission
from homeserver.users.jobs import LEAVE_ROOMS, SHOW_PROFILE, UserJobs
from homeserver.users.profiles import Profiles
from homeserver.users.rooms_of_user import RoomsOfUser
from homeserver.web.access import Requester
from storage import accounts as account_table
from storage.accounts import Account
from storage.rows import AccountDataRow
from tests.integration.rooms.house import JULIET, ROMEO, House, refusal
from tests.postgres import FreshDatabase
from tests.reactors import run_on_reactor

T = TypeVar("T")


class Household(House):
    """Rooms, with users whose profiles are kept for real."""

    def __init__(self, dsn: str, reactor: Any) -> None:
        super().__init__(dsn, reactor)
        server_name = ServerName("verona.example")
        self.tasks = Tasks(self.clock)
        self.jobs = UserJobs(self.database, self.tasks, self.clock)
        self.profiles = Profiles(self.database, self.jobs, server_name)
        self.invite_permission = InvitePermission(self.database, self.ring)
        self.changes = MembershipChanges(
            self.appender,
            self.heads,
            self.memberships,
            self.profiles,
            self.invite_permission,
            Nowhere(),
            self.database,
            Wholeness(self.ring, self.clock),
            server_name,
        )
        self.rooms_of_user = RoomsOfUser(self.memberships, self.heads, self.changes)

    async def admits(self, *user_ids: UserId) -> None:
        """Make accounts."""
        for user_id in user_ids:
            await self.database.write(account_table.insert, Account(user_id, None, 1))

    async def calls(self, user_id: UserId, name: str) -> None:
        """The user takes a name."""
        await self.profiles.set(requester(user_id), user_id, "displayname", {"displayname": name})

    async def jobs_are_done(self) -> None:
        """Wait until nothing is left to be done."""
        while await self.ask("SELECT FROM user_jobs"):
            await self.clock.sleep(0.01)

    async def shown(self, room_id: str, user_id: UserId) -> tuple[object, object]:
        """Membership and name in a room."""
        content = await self.content(room_id, "m.room.member", user_id)  # type: ignore[arg-type]  # ids are texts here
        assert content is not None
        return content["membership"], content.get("displayname")


def requester(user_id: UserId) -> Requester:
    """The user at a device."""
    return Requester(user_id, None, 1, b"")


def at(dsn: str, story: Callable[[Household], Awaitable[T]]) -> T:
    """Tell a story in a household."""

    async def told(reactor: Any) -> T:
        house = Household(dsn, reactor)
        await house.open()
        try:
            return await story(house)
        finally:
            await house.tasks.stop()
            await house.close()

    return run_on_reactor(told)


def test_a_new_name_is_shown_in_all_rooms_with_one_event_each(fresh_database: FreshDatabase) -> None:
    async def story(house: Household) -> None:
        await house.admits(ROMEO, JULIET)
        await house.jobs.start(house.rooms_of_user.work)
        rooms = [await house.room() for _ in range(20)]
        left = await house.room()
        await house.changes.leave(ROMEO, left)
        before = len(await house.ask("SELECT FROM events"))
        await house.calls(ROMEO, "Romeo")
        await house.jobs_are_done()
        assert {await house.shown(room, ROMEO) for room in rooms} == {("join", "Romeo")}
        assert await house.shown(left, ROMEO) == ("leave", None)
        assert len(await house.ask("SELECT FROM events")) == before + len(rooms)
        await house.calls(ROMEO, "Romeo")
        await house.jobs_are_done()
        assert len(await house.ask("SELECT FROM events")) == before + len(rooms), "the same name again says nothing new"

    at(fresh_database(), story)


def test_the_last_of_several_names_is_shown_in_the_end(fresh_database: FreshDatabase) -> None:
    async def story(house: Household) -> None:
        await house.admits(ROMEO)
        await house.jobs.start(house.rooms_of_user.work)
        rooms = [await house.room() for _ in range(5)]
        for name in ("Romeo", "Montague", "Pilgrim"):
            await house.calls(ROMEO, name)
        await house.jobs_are_done()
        assert {await house.shown(room, ROMEO) for room in rooms} == {("join", "Pilgrim")}

    at(fresh_database(), story)


def test_a_name_that_was_not_shown_before_a_crash_is_shown_after_it(fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()

    async def before(house: Household) -> str:
        await house.admits(ROMEO)
        room = await house.room()
        await house.calls(ROMEO, "Romeo")  # nobody does the jobs here
        assert await house.ask("SELECT user_id, job FROM user_jobs") == [(ROMEO, SHOW_PROFILE)]
        return room

    async def after(house: Household) -> None:
        assert await house.shown(room, ROMEO) == ("join", None)
        await house.jobs.start(house.rooms_of_user.work)
        await house.jobs_are_done()
        assert await house.shown(room, ROMEO) == ("join", "Romeo")

    room = at(dsn, before)
    at(dsn, after)


def test_who_is_gone_leaves_rooms_and_rejects_invites(fresh_database: FreshDatabase) -> None:
    async def story(house: Household) -> None:
        await house.admits(ROMEO, JULIET)
        await house.jobs.start(house.rooms_of_user.work)
        joined, invited = await house.room(JULIET), await house.room()
        await house.changes.invite(ROMEO, invited, JULIET)
        await house.database.write(UserJobs.want, JULIET, LEAVE_ROOMS)
        house.jobs.begin(JULIET, LEAVE_ROOMS)
        await house.jobs_are_done()
        assert (await house.shown(joined, JULIET))[0] == (await house.shown(invited, JULIET))[0] == "leave"

    at(fresh_database(), story)


def test_a_job_that_fails_is_tried_again(fresh_database: FreshDatabase) -> None:
    async def story(house: Household) -> None:
        await house.admits(ROMEO)
        attempts = []

        async def work(user_id: str) -> None:
            attempts.append(user_id)
            if len(attempts) == 1:
                raise RuntimeError("not yet")

        await house.jobs.start({SHOW_PROFILE: work})
        await house.calls(ROMEO, "Romeo")
        await house.jobs_are_done()
        assert attempts == [ROMEO, ROMEO]

    at(fresh_database(), story)


def test_who_blocks_invites_gets_none_until_they_change_their_mind(fresh_database: FreshDatabase) -> None:
    async def story(house: Household) -> None:
        await house.admits(ROMEO, JULIET)
        room = await house.room()
        config = "m.invite_permission_config"
        await house.writer.append([AccountDataRow(JULIET, "", config, b'{"default_action":"block"}')])
        assert await refusal(house.changes.invite(ROMEO, room, JULIET)) == (403, "M_INVITE_BLOCKED")
        await house.writer.append([AccountDataRow(JULIET, "", config, b"{}")])
        await house.changes.invite(ROMEO, room, JULIET)

    at(fresh_database(), story)
