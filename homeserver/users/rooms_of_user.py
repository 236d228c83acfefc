"""What a change to an account means in the user's rooms: the new name is shown, or the user leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog
from twisted.internet.defer import Deferred

from homeserver.core.ids import RoomId, UserId
from homeserver.rooms.heads import Heads
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.policy_servers import PolicyServerAway
from homeserver.users.jobs import LEAVE_ROOMS, SHOW_PROFILE, Work
from homeserver.web.errors import MatrixError

AT_ONCE: Final = 16
"""Rooms that are worked on at the same time; what they write shares transactions."""

log: Final = structlog.get_logger("homeserver.users")


class RoomActions(Protocol):
    """What is done in a room (`homeserver.rooms.membership.MembershipChanges`)."""

    async def show_profile(self, user_id: UserId, room_id: RoomId) -> object:
        """Bring the user's member event up to their profile."""
        ...

    async def leave(self, user_id: UserId, room_id: RoomId) -> None:
        """Leave the room, or reject the invite to it."""
        ...


class RoomsOfUser:
    """Goes through the rooms of a user."""

    def __init__(self, memberships: Memberships, heads: Heads, actions: RoomActions) -> None:
        self._memberships = memberships
        self._heads = heads
        self._actions = actions

    @property
    def work(self) -> Mapping[str, Work]:
        """How each kind of job is done, for `UserJobs.start`."""
        return {SHOW_PROFILE: self.show_profile, LEAVE_ROOMS: self.leave_all}

    async def show_profile(self, user_id: str) -> None:
        """Show the user's present name and picture in all rooms they are in."""
        rooms = await self._memberships.of_user(user_id)
        await self._in_each(user_id, sorted(rooms.joined), self._actions.show_profile, left_out=(PolicyServerAway,))

    async def leave_all(self, user_id: str) -> None:
        """Leave all rooms, and reject all invites."""
        rooms = await self._memberships.of_user(user_id)
        wanted = [room for room, (membership, _) in rooms.items() if membership in ("join", "invite", "knock")]
        await self._in_each(user_id, wanted, self._actions.leave)

    async def _in_each(
        self,
        user_id: str,
        rooms: Sequence[int],
        act: Callable[[UserId, RoomId], Awaitable[object]],
        left_out: tuple[type[MatrixError], ...] = (),
    ) -> None:
        """Act in each room. Where the room's rules forbid it, nothing is done there.

        Where it cannot be done now, it is to be tried again once all others were dealt with, unless it may be
        `left_out`.
        """
        waiting = list(reversed(rooms))
        failures: list[Exception] = []

        async def work_through() -> None:
            while waiting:
                room = await self._heads.by_number(waiting.pop())
                if room is None:
                    continue
                try:
                    await act(UserId(user_id), room.room_id)
                except MatrixError as refusal:
                    if refusal.status >= 500 and not isinstance(refusal, left_out):
                        failures.append(refusal)
                        continue
                    log.info("a room did not take a change", user=user_id, room=room.room_id, reason=refusal.message)

        workers = [Deferred.fromCoroutine(work_through()) for _ in range(min(AT_ONCE, len(waiting)))]
        # All of them come to their ends before the first failure is told.
        for worker in workers:
            try:
                await worker
            except Exception as failure:  # noqa: BLE001 -- raised below
                failures.append(failure)
        if failures:
            raise failures[0]
