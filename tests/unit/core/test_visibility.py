"""History visibility. Specification: client-server API, "Room History Visibility", "Server behaviour"."""

from __future__ import annotations

from itertools import product

import pytest

from homeserver.core.visibility import (
    HistoryVisibility,
    View,
    changes_view,
    history_visibility_of,
    joined_later,
    may_see,
    membership_matters,
)

EVERY: tuple[HistoryVisibility, ...] = ("world_readable", "shared", "invited", "joined")
MEMBERSHIPS = (None, "join", "invite", "leave", "ban", "knock")

# visibility → memberships at the event that may see it: (not in the room afterwards, joined at some time afterwards)
TABLE: dict[HistoryVisibility, tuple[set[str | None], set[str | None]]] = {
    "world_readable": (set(MEMBERSHIPS), set(MEMBERSHIPS)),
    "shared": ({"join"}, set(MEMBERSHIPS)),
    "invited": ({"join", "invite"}, {"join", "invite"}),
    "joined": ({"join"}, {"join"}),
}


@pytest.mark.parametrize(("visibility", "membership", "later"), list(product(EVERY, MEMBERSHIPS, (False, True))))
def test_the_rules_by_visibility_membership_at_the_event_and_later_stay(
    visibility: HistoryVisibility, membership: str | None, later: bool
) -> None:
    assert may_see(View(visibility, membership), joined_later=later) == (membership in TABLE[visibility][later])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "shared"),
        ({}, "shared"),
        ({"history_visibility": "org.example.whatever"}, "shared"),
        ({"history_visibility": None}, "shared"),
        ({"history_visibility": ["joined"]}, "shared"),
        ({"history_visibility": {"joined": True}}, "shared"),
        *(({"history_visibility": value}, value) for value in EVERY),
    ],
)
def test_what_is_absent_or_not_understood_counts_as_shared(content: dict[str, object] | None, expected: str) -> None:
    assert history_visibility_of(content) == expected


@pytest.mark.parametrize(
    ("old", "new"), [("world_readable", "joined"), ("joined", "world_readable"), ("world_readable", "invited")]
)
def test_a_stranger_sees_the_event_that_opens_or_closes_the_history(
    old: HistoryVisibility, new: HistoryVisibility
) -> None:
    assert may_see(View(old, None), View(new, None), joined_later=False)


def test_a_stranger_does_not_see_a_change_between_two_closed_settings() -> None:
    assert not may_see(View("joined", None), View("invited", None), joined_later=False)


@pytest.mark.parametrize("visibility", EVERY)
def test_users_see_their_own_joining_and_their_own_leaving(visibility: HistoryVisibility) -> None:
    assert may_see(View(visibility, None), View(visibility, "join"), joined_later=True)
    for gone in ("leave", "ban"):
        assert may_see(View(visibility, "join"), View(visibility, gone), joined_later=False)


def test_users_see_their_own_invite_only_where_the_invited_see_history() -> None:
    assert may_see(View("invited", None), View("invited", "invite"), joined_later=False)
    assert not may_see(View("joined", None), View("joined", "invite"), joined_later=False)


def test_the_state_after_counts_for_visibility_events_and_for_the_users_own_membership() -> None:
    assert changes_view("m.room.history_visibility", "", "@a:x")
    assert changes_view("m.room.member", "@a:x", "@a:x")
    assert not changes_view("m.room.member", "@b:x", "@a:x")
    assert not changes_view("m.room.history_visibility", "other", "@a:x")
    assert not changes_view("m.room.history_visibility", None, "@a:x")
    assert not changes_view("m.room.message", None, "@a:x")


def test_who_left_sees_what_was_before_and_nothing_since() -> None:
    assert joined_later(event_position=5, joined_now=False, last_stay_ended_at=9)
    assert not joined_later(event_position=9, joined_now=False, last_stay_ended_at=9)
    assert not joined_later(event_position=12, joined_now=False, last_stay_ended_at=9)
    assert not joined_later(event_position=5, joined_now=False, last_stay_ended_at=None)
    assert joined_later(event_position=12, joined_now=True, last_stay_ended_at=None)


@pytest.mark.parametrize(("visibility", "later"), list(product(EVERY, (False, True))))
def test_membership_is_not_looked_up_only_where_every_membership_may_see(
    visibility: HistoryVisibility, later: bool
) -> None:
    answers = {may_see(View(visibility, membership), joined_later=later) for membership in MEMBERSHIPS}
    assert membership_matters(visibility, later) == (answers != {True})
