"""What policy servers said to events, in the course of one request; events without their signature are judged by it.

The seventh check of "Checks performed on receipt of a PDU", and what stands before an event of our own goes out. Works
on plans, so nobody is asked here: `MissingSignatures` says who is to be asked for what.
Specification: server-server API, "Policy Servers".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from homeserver.core.auth import Rejected
from homeserver.core.draft import Draft
from homeserver.core.event import Event
from homeserver.core.policy import PolicyServer, is_exempt
from homeserver.rooms.missing import MissingPolicyUsers, MissingSignatures, Unplaceable
from homeserver.rooms.placing import Placer
from homeserver.rooms.plan import RoomPlan
from homeserver.rooms.room import PolicyUsers
from storage.rows import EventRow


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a policy server said to an event: the event with its signature, or why it has none."""

    policy: PolicyServer
    event: Event
    objection: str | None = None
    is_asked: bool = True
    """False: the event has no valid signature, and nobody was asked for one."""


class Recommended(msgspec.Struct, frozen=True):
    """What was said so far. Never changes; `and_also` makes another. Not `asks`: no other server is waited for."""

    by_id: Mapping[str, Opinion] = msgspec.field(default_factory=dict)
    drafted: Sequence[tuple[Draft, Opinion]] = ()
    asks: bool = True

    def asking_nobody(self) -> Recommended:
        """The same, where no other server is to be waited for."""
        return Recommended(self.by_id, self.drafted, asks=False)

    def and_also(self, opinions: Sequence[Opinion], draft: Draft | None = None) -> Recommended:
        """With these opinions; `draft` is what the one event among them was made of."""
        by_id: dict[str, Opinion] = {**self.by_id}
        by_id.update((opinion.event.event_id, opinion) for opinion in opinions)
        drafted = () if draft is None else [(draft, opinion) for opinion in opinions]
        return Recommended(by_id, (*self.drafted, *drafted), self.asks)

    def row_of(self, room: RoomPlan, draft: Draft, event: Event) -> EventRow | None:
        """The place of what the room's policy server signed for this draft; None where nobody need be asked.

        That event was built before the question, and the room may have gone on since: it comes where it was signed for.
        """
        policy = None if is_exempt(draft.type, draft.state_key) else policy_in_force(room)
        if policy is None:
            return None
        taken = {row.event.event_id for row in room.rows}
        for earlier, opinion in self.drafted:
            if earlier == draft and opinion.policy == policy and opinion.event.event_id not in taken:
                placed = Placer(room, look_up_all=False).add(opinion.event)
                if not placed.verdict.is_accepted:
                    raise Rejected(placed.verdict.reason)
                return placed.row
        raise MissingSignatures(policy, [event], draft)

    def judge(self, room: RoomPlan, event: Event) -> tuple[Event, str | None]:
        """An event of another server, with the signature, and what the policy server has against it."""
        policy = None if is_exempt(event.type, event.state_key) else policy_in_force(room)
        if policy is None:
            return event, None
        opinion = self.by_id.get(event.event_id)
        if opinion is None or opinion.policy != policy:
            raise MissingSignatures(policy, [event], asks=self.asks)
        if not opinion.is_asked:
            raise Unplaceable(event, (), ())
        return opinion.event, opinion.objection

    def want(self, room: RoomPlan, events: Sequence[Event]) -> None:
        """Have the signatures on these events checked all at once, and the policy server asked for what lacks one."""
        policy = policy_in_force(room)
        if policy is None:
            return
        unheard = [
            event
            for event in events
            if not is_exempt(event.type, event.state_key)
            and ((opinion := self.by_id.get(event.event_id)) is None or opinion.policy != policy)
        ]
        if unheard:
            raise MissingSignatures(policy, unheard, asks=self.asks)


NOBODY_ASKED: Final = Recommended()


def policy_in_force(room: RoomPlan) -> PolicyServer | None:
    """The policy server that the room uses now; None if none, or if nobody of it is in the room.

    "Determining if a Policy Server is enabled in a room".
    """
    policy = room.policy
    if policy is None:
        return None
    users = room.room.policy_users
    if users is None or users.server != policy.server:
        raise MissingPolicyUsers(room.room, policy.server)
    if any(row.members for row in room.rows):
        users = PolicyUsers(users.server, set(users.joined))
        for row in room.rows:
            users.follow(row.members)
    return policy if users.joined else None
