"""Stories told by dice: whoever follows them step by step ends with the picture that /sync gives at once.

Gaps, lazy members, state before or after the timeline, rejoined rooms, the ring and the tables behind it: all agree.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.cast import Actor, Cast, Refused
from tests.integration.scenarios.followers import Follower, differences
from tests.servers import MakeServer
from tests.sync_answer import Synced
from tests.wire import Json

STEPS = 120


class Story:
    """Three people in two rooms who do what the dice say."""

    def __init__(self, cast: Cast, seed: int) -> None:
        self.dice = random.Random(seed)
        self.owner: Actor = cast("owner", devices=["one", "two", "three"])
        self.people = [self.owner, cast("ann", devices=["one", "two", "three"]), cast("bob")]
        self.rooms = [self.owner.creates_room(preset="public_chat", room_version=version) for version in ("10", "12")]
        self.sent: dict[str, list[str]] = {room: [] for room in self.rooms}
        self.followers = [
            follower
            for person in self.people[:2]
            for follower in (
                Follower(person.devices["one"], 20),
                Follower(person.devices["two"], self.dice.randint(1, 3), lazy=True),
                Follower(person.devices["three"], self.dice.randint(1, 3), state_after=True),
            )
        ]
        self._acts: list[Callable[[Actor, str], object]] = [
            *[self._says] * 6,
            self._replies,
            self._edits,
            self._reacts,
            self._redacts,
            *[self._sets_state] * 3,
            *[self._reads] * 2,
            self._keeps,
            *[lambda who, room: who.joins(room)] * 3,
            lambda who, room: None if who is self.owner else who.leaves(room),
            lambda who, room: None if who is self.owner else self.owner.kicks(room, who),
            lambda who, room: None if who is self.owner else self.owner.invites(room, who),
            lambda who, room: None if who is self.owner else self.owner.bans(room, who),
            lambda who, room: None if who is self.owner else self.owner.unbans(room, who),
        ]

    def step(self) -> None:
        """Something happens, or is refused; and now and then somebody syncs."""
        try:
            self.dice.choice(self._acts)(self.dice.choice(self.people), self.dice.choice(self.rooms))
        except Refused as refusal:
            assert refusal.status in (400, 403, 404), refusal
        for follower in self.followers:
            if self.dice.random() < 0.12:
                follower.syncs()

    def _says(self, who: Actor, room: str) -> None:
        self.sent[room].append(who.says(room, f"{len(self.sent[room])}"))

    def _replies(self, who: Actor, room: str) -> None:
        self.sent[room].append(who.replies_in_thread(room, self._one_of(room), "reply"))

    def _edits(self, who: Actor, room: str) -> None:
        who.edits(room, self._one_of(room), "edited")

    def _reacts(self, who: Actor, room: str) -> None:
        who.reacts(room, self._one_of(room), self.dice.choice("abc"))

    def _redacts(self, who: Actor, room: str) -> None:
        who.redacts(room, self._one_of(room))

    def _sets_state(self, who: Actor, room: str) -> None:
        key = self.dice.choice(["", "a", "b", who.user_id])
        who.sets_state(room, "org.example.state", {"n": self.dice.randint(0, 3)}, key)

    def _reads(self, who: Actor, room: str) -> None:
        kind = self.dice.choice(["m.read", "m.read.private"])
        who.reads(room, self._one_of(room), kind)

    def _keeps(self, who: Actor, room: str) -> None:
        who.keeps(
            f"org.example.{self.dice.randint(0, 2)}", {"n": self.dice.randint(0, 9)}, self.dice.choice([None, room])
        )

    def _one_of(self, room: str) -> str:
        if not self.sent[room]:
            self.sent[room].append(self.owner.says(room, "first"))
        return self.dice.choice(self.sent[room][-5:])


@pytest.mark.parametrize("seed", range(6))
def test_the_picture_gathered_step_by_step_is_the_one_that_is_told_at_once(cast: Cast, seed: int) -> None:
    story = Story(cast, seed)
    for _ in range(STEPS):
        story.step()
    for follower in story.followers:
        follower.syncs()
        fresh = follower.fresh()
        for room, view in fresh.views.items():
            follower.views[room].forgets_receipts_but(view.timeline, follower.device.user_id)
            view.forgets_receipts_but(view.timeline, follower.device.user_id)
        assert differences(follower.picture(), fresh.picture()) == []
        for room, view in follower.views.items():
            if not follower.lazy:
                whole = follower.device.whole_state(room)
                assert view.state == {(event["type"], event["state_key"]): event["event_id"] for event in whole}
            assert len(view.timeline) == len(set(view.timeline)), "something was told twice"
    for follower in story.followers[:3]:  # the owner never leaves
        for room in story.rooms:
            history = follower.device.whole_history(room, backwards=False).ids
            told = follower.views[room].timeline
            assert told == history[-len(told) :]


@pytest.mark.myelin
@pytest.mark.parametrize("seed", [20, 21])
def test_what_is_told_after_a_restart_is_what_was_told_before(make_server: MakeServer, seed: int) -> None:
    server = make_server()
    story = Story(Cast(server), seed)
    tokens: list[tuple[Follower, Synced]] = []
    for number in range(STEPS):
        story.step()
        if number % 15 == 0:
            for follower in story.followers:
                follower.syncs()
                assert follower.since is not None
                tokens.append((follower, follower.since))

    def answers() -> list[Json]:
        told = [without_ages(follower.device.sync(since, filter=LIMITED).answer) for follower, since in tokens]
        told += [without_ages(follower.device.sync(filter=LIMITED).answer) for follower in story.followers]
        told += [
            without_ages(follower.device.sync(since, filter=LIMITED, use_state_after=True).answer)
            for follower, since in tokens
        ]
        return told

    before = answers()
    server.restart()
    for number, (one, other) in enumerate(zip(before, answers(), strict=True)):
        assert differences(one, other, f"answer {number} of {len(before)}: ") == []


LIMITED: Json = {"room": {"timeline": {"limit": 4, "unread_thread_notifications": True}}, "presence": {"types": []}}


def without_ages(answer: Json) -> Json:
    """An answer without what is different each time: ages, positions, and the order of what has none."""
    match answer:
        case dict():
            left_out = ("age", "next_batch", "prev_batch", "transaction_id")
            kept = {name: without_ages(value) for name, value in answer.items() if name not in left_out}
            if "events" in kept and all(isinstance(event, dict) for event in kept["events"]) and "limited" not in kept:
                kept["events"] = sorted(kept["events"], key=repr)
            return kept
        case list():
            return [without_ages(value) for value in answer]
        case _:
            return answer
