"""What the functions of each table area ask and change, on every version of PostgreSQL that is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import psycopg2
import pytest

from storage import (
    account_data,
    accounts,
    device_transactions,
    devices,
    filters,
    invite_states,
    log_head,
    memberships,
    profiles,
    public_rooms,
    receipts,
    registration_tokens,
    secrets,
    to_device,
    tokens,
)
from storage.accounts import Account
from storage.database import Cursor
from storage.devices import Seen
from storage.public_rooms import Place, Wanted
from storage.rows import AccountDataRow, Entry, ReceiptRow, ToDeviceRow
from storage.statements import Collector, Prepared
from tests.postgres import FreshDatabase

ROMEO, JULIET, NURSE = "@romeo:verona", "@juliet:verona", "@nurse:mantua"


@pytest.fixture
def tx(any_database: FreshDatabase) -> Iterator[Cursor]:
    connection = psycopg2.connect(any_database())
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


@pytest.fixture
def romeo(tx: Cursor) -> Account:
    account = Account(ROMEO, "hash", 1)
    assert accounts.insert(tx, account)
    return account


Row = TypeVar("Row", bound=Entry)


def placed(row: Row, position: int) -> Row:
    row.position = position
    return row


def test_a_secret_is_kept_as_it_was_first_made(tx: Cursor) -> None:
    assert secrets.keep(tx, "hash", b"\x00first") == b"\x00first"
    assert secrets.keep(tx, "hash", b"second") == b"\x00first"


def test_a_name_is_taken_once_and_a_closed_account_has_no_password(tx: Cursor, romeo: Account) -> None:
    assert not accounts.insert(tx, Account(ROMEO, None, 2))
    assert accounts.one(tx, ROMEO) == romeo
    assert accounts.one(tx, JULIET) is None
    assert accounts.existing(tx, [ROMEO, JULIET]) == {ROMEO}
    assert accounts.set_admin(tx, ROMEO, True)
    assert accounts.deactivate(tx, ROMEO, erase=True)
    assert accounts.one(tx, ROMEO) == Account(ROMEO, None, 1, is_admin=True, is_deactivated=True, is_erased=True)
    assert accounts.count(tx) == 0
    assert accounts.reactivate(tx, ROMEO, "new")
    assert accounts.one(tx, ROMEO) == Account(ROMEO, "new", 1, is_admin=True)
    assert not accounts.set_password(tx, JULIET, "x")


def test_accounts_are_listed_in_pages_and_found_by_a_part_of_their_name(tx: Cursor) -> None:
    for number in range(5):
        accounts.insert(tx, Account(f"@user{number}:verona", None, number))
    first = accounts.page(tx, after="", limit=3)
    assert [each.user_id for each in first] == ["@user0:verona", "@user1:verona", "@user2:verona"]
    assert [each.user_id for each in accounts.page(tx, after=first[-1].user_id, limit=3)] == [
        "@user3:verona",
        "@user4:verona",
    ]
    assert [each.user_id for each in accounts.page(tx, after="", limit=9, search="SER3")] == ["@user3:verona"]


def test_a_device_keeps_its_number_and_its_name(tx: Cursor, romeo: Account) -> None:
    number, is_new = devices.put(tx, ROMEO, "PHONE", "phone", 5)
    assert is_new
    assert devices.put(tx, ROMEO, "PHONE", "other", 6) == (number, False)
    assert devices.rename(tx, ROMEO, "PHONE", "my phone")
    assert not devices.rename(tx, ROMEO, "NONE", "x")
    devices.note_seen(tx, [Seen(number, 77, "127.0.0.1", "Client/1.0 'x'")])
    found = devices.one(tx, ROMEO, "PHONE")
    assert found is not None
    assert (found.display_name, found.last_seen_ts, found.last_seen_user_agent) == ("my phone", 77, "Client/1.0 'x'")
    assert devices.of_user(tx, ROMEO) == [found]
    assert devices.of_users(tx, [ROMEO, JULIET]) == [(ROMEO, "PHONE", number)]


def test_a_deleted_device_takes_its_tokens_and_messages_along(tx: Cursor, romeo: Account) -> None:
    number, _ = devices.put(tx, ROMEO, "PHONE", None, 5)
    tokens.insert(tx, b"access", ROMEO, number, 1, None)
    tokens.insert_refresh(tx, b"refresh", number, 1, b"access")
    to_device.persist(tx, [placed(ToDeviceRow(ROMEO, number, b"{}"), 1)])
    device_transactions.note(tx, number, "sendToDevice/m.x/1", 1)
    owner = tokens.owner(tx, b"access")
    assert owner is not None
    assert (owner.user_id, owner.device, owner.device_id, owner.expires_ts) == (ROMEO, number, "PHONE", None)
    assert tokens.of_user(tx, ROMEO) == tokens.of_devices(tx, [number]) == [b"access"]
    devices.delete(tx, [number])
    assert tokens.owner(tx, b"access") is None
    assert tokens.refresh(tx, b"refresh") is None
    assert to_device.waiting(tx, number, 0, 100, 10) == []
    assert not device_transactions.is_known(tx, number, "sendToDevice/m.x/1")


def test_profile_fields_say_whether_they_changed(tx: Cursor, romeo: Account) -> None:
    assert profiles.put(tx, ROMEO, "displayname", '"Romeo Montague"')
    assert not profiles.put(tx, ROMEO, "displayname", '"Romeo Montague"')
    assert profiles.put(tx, ROMEO, "displayname", '"Romeo"')
    profiles.put(tx, ROMEO, "m.tz", '"Europe/Rome"')
    assert profiles.of_user(tx, ROMEO) == {"displayname": '"Romeo"', "m.tz": '"Europe/Rome"'}
    assert profiles.of_users(tx, [ROMEO, JULIET], ["displayname"]) == {ROMEO: {"displayname": '"Romeo"'}, JULIET: {}}
    assert profiles.search(tx, "ROME", 10) == [ROMEO]
    assert profiles.search(tx, "100%", 10) == []
    assert profiles.delete(tx, ROMEO, "m.tz")
    assert not profiles.delete(tx, ROMEO, "m.tz")


def test_a_registration_token_lets_in_as_many_as_it_says(tx: Cursor) -> None:
    assert registration_tokens.insert(tx, "two", 2, 1000)
    assert not registration_tokens.insert(tx, "two", 5, None)
    assert [registration_tokens.use(tx, "two", 10) for _ in range(3)] == [True, True, False]
    assert not registration_tokens.is_valid(tx, "two", 10)
    assert registration_tokens.change(tx, "two", None, 1000)
    assert registration_tokens.is_valid(tx, "two", 999)
    assert not registration_tokens.use(tx, "two", 1000)
    assert not registration_tokens.use(tx, "none", 1)
    assert [each.completed for each in registration_tokens.every(tx)] == [2]
    assert registration_tokens.delete(tx, "two")


def test_the_same_filter_gets_the_same_id(tx: Cursor, romeo: Account) -> None:
    first = filters.put(tx, ROMEO, b'{"room":{}}')
    assert filters.put(tx, ROMEO, b"{}") != first
    assert filters.put(tx, ROMEO, b'{"room":{}}') == first
    assert filters.one(tx, ROMEO, first) == b'{"room":{}}'
    assert filters.one(tx, ROMEO, 99) is None


def test_account_data_is_found_by_key_by_room_and_by_position(tx: Cursor) -> None:
    rows = [
        placed(AccountDataRow(ROMEO, "", "a", b'{"n":1}'), 1),
        placed(AccountDataRow(ROMEO, "!r:verona", "m.tag", b'{"n":2}'), 2),
        placed(AccountDataRow(JULIET, "", "a", b'{"n":3}'), 3),
        placed(AccountDataRow(ROMEO, "", "a", b'{"n":4}'), 4),
    ]
    account_data.persist(tx, rows)
    assert account_data.one(tx, ROMEO, "", "a") == b'{"n":4}'
    assert account_data.one(tx, ROMEO, "", "b") is None
    assert [row.position for row in account_data.of_user(tx, ROMEO)] == [2, 4]
    assert [row.json for row in account_data.of_user_in_room(tx, ROMEO, "!r:verona")] == [b'{"n":2}']
    assert [row.position for row in account_data.of_user_between(tx, ROMEO, 2, 4)] == [4]
    assert account_data.of_type(tx, [ROMEO, JULIET, NURSE], "", "a") == {ROMEO: b'{"n":4}', JULIET: b'{"n":3}'}
    account_data.delete_of_user(tx, ROMEO)
    assert account_data.of_user(tx, ROMEO) == []


def test_messages_wait_for_a_device_until_it_has_shown_to_have_them(tx: Cursor, romeo: Account) -> None:
    number, _ = devices.put(tx, ROMEO, "PHONE", None, 5)
    messages = [placed(ToDeviceRow(ROMEO, number, b'{"n":%d}' % position), position) for position in (3, 5, 9)]
    # One for a device that was deleted meanwhile: dropped, without harm to the others.
    to_device.persist(tx, [*messages, placed(ToDeviceRow(ROMEO, number + 1000, b"{}"), 4)])
    assert [row.json for row in to_device.waiting(tx, number, 0, 5, 10)] == [b'{"n":3}', b'{"n":5}']
    assert [row.position for row in to_device.waiting(tx, number, 0, 9, 2)] == [3, 5]
    to_device.delete_upto(tx, number, 5)
    assert [(row.position, row.user_id) for row in to_device.waiting(tx, number, 0, 100, 10)] == [(9, ROMEO)]


def test_a_path_that_was_used_is_known_until_it_is_old(tx: Cursor, romeo: Account) -> None:
    number, _ = devices.put(tx, ROMEO, "PHONE", None, 5)
    for ts in (10, 20, 30):
        device_transactions.note(tx, number, f"sendToDevice/m.x/{ts}", ts)
    device_transactions.note(tx, number, "sendToDevice/m.x/10", 99)
    device_transactions.note(tx, number + 1000, "of no device", 1)
    assert device_transactions.of_device(tx, number, 2) == ["sendToDevice/m.x/30", "sendToDevice/m.x/20"]
    assert device_transactions.delete_older(tx, 25, 1) == 1
    assert device_transactions.delete_older(tx, 25, 10) == 1
    assert not device_transactions.is_known(tx, number, "sendToDevice/m.x/10")
    assert device_transactions.is_known(tx, number, "sendToDevice/m.x/30")


def test_of_the_receipts_of_a_user_the_newest_of_each_kind_and_thread_counts(tx: Cursor) -> None:
    def receipt(position: int, user_id: str, type: str, thread: str, at: int, room: int = 1) -> ReceiptRow:
        return placed(ReceiptRow(room, user_id, type, thread, f"$e{at}", at, 1000), position)

    receipts.persist(tx, [receipt(1, ROMEO, "m.read", "", 5), receipt(2, ROMEO, "m.read", "", 7)])
    receipts.persist(
        tx,
        [
            receipt(3, ROMEO, "m.read", "main", 6),
            receipt(4, JULIET, "m.read.private", "", 9),
            receipt(5, JULIET, "m.read", "", 2),
            receipt(6, JULIET, "m.read", "", 3, room=2),
        ],
    )
    receipts.persist(tx, [receipt(7, ROMEO, "m.read", "main", 8)])
    assert [(each.thread, each.event_id) for each in receipts.of_user_in_room(tx, 1, ROMEO)] == [
        ("", "$e7"),
        ("main", "$e8"),
    ]
    assert [each.position for each in receipts.in_rooms_between(tx, [1, 2], 4, 7)] == [5, 6, 7]
    assert [each.position for each in receipts.in_room_at_or_after(tx, 1, 8, ROMEO)] == [2, 4, 7]
    assert {each.room for each in receipts.of_user(tx, JULIET)} == {1, 2}


def test_who_is_where_and_who_is_with_whom(tx: Cursor) -> None:
    tx.execute(
        "INSERT INTO memberships (room, user_id, membership, position) VALUES (1, %(r)s, 'join', 3),"
        " (1, %(j)s, 'join', 1), (1, %(n)s, 'leave', 2), (2, %(r)s, 'join', 4), (2, %(n)s, 'join', 5),"
        " (3, %(r)s, 'invite', 6), (3, %(n)s, 'ban', 7)",
        {"r": ROMEO, "j": JULIET, "n": NURSE},
    )
    tx.execute(
        "INSERT INTO membership_changes VALUES (%(r)s, 3, 1, 'join'), (%(r)s, 4, 2, 'join'), (%(r)s, 6, 3, 'invite')",
        {"r": ROMEO},
    )
    assert memberships.of(tx, 1, [ROMEO, NURSE, "@x:y"]) == {ROMEO: ("join", 3), NURSE: ("leave", 2)}
    assert memberships.changes_of(tx, ROMEO, 3, 6) == [(4, 2, "join"), (6, 3, "invite")]
    assert memberships.before(tx, ROMEO, 1, 5) == (3, "join")
    assert memberships.before(tx, ROMEO, 1, 2) is None
    assert [user for user, _, _ in memberships.members(tx, 1, ["join"])] == [JULIET, ROMEO]
    assert [user for user, _, _ in memberships.members(tx, 1, ["join", "leave"], after=JULIET, limit=1)] == [NURSE]
    assert memberships.heroes(tx, 1, 6) == [JULIET, ROMEO]
    assert memberships.heroes(tx, 3, 6) == [ROMEO, NURSE]
    assert memberships.shared_rooms(tx, ROMEO, NURSE) == [2]
    assert memberships.neighbours(tx, ROMEO) == {JULIET, NURSE}
    assert memberships.neighbours_among(tx, ROMEO, [NURSE, "@x:y"]) == {NURSE}
    assert memberships.servers_in(tx, 1) == [("verona", 2)]


def test_the_directory_is_searched_and_paged_from_the_largest_room_to_the_smallest(tx: Cursor) -> None:
    rooms = [
        ("Balcony", None, 2),
        ("Market", None, 50),
        ("Verona", "m.space", 9),
        ("Hidden", None, 99),
        ("Tomb", None, 2),
    ]
    for room, (name, room_type, members) in enumerate(rooms, start=1):
        tx.execute("INSERT INTO rooms VALUES (%s, %s, '11', %s)", (room, f"!{room}:verona", name != "Hidden"))
        tx.execute(
            "INSERT INTO room_summaries (room, name, topic, room_type, joined_members) VALUES (%s, %s, %s, %s, %s)",
            (room, name, f"about the {name}", room_type, members),
        )
    everything = Wanted()
    first = public_rooms.page(tx, everything, limit=2)
    assert [each.name for each in first] == ["Market", "Verona"]
    place = Place(first[-1].joined_members, first[-1].room)
    second = public_rooms.page(tx, everything, limit=2, after=place)
    assert [each.name for each in second] == ["Tomb", "Balcony"]
    back = public_rooms.page(
        tx, everything, limit=2, after=Place(second[0].joined_members, second[0].room), backwards=True
    )
    assert [each.name for each in back] == ["Market", "Verona"]
    assert public_rooms.count(tx, everything) == 4
    assert [each.name for each in public_rooms.page(tx, Wanted("THE BALC"), limit=9)] == ["Balcony"]
    assert public_rooms.page(tx, Wanted("%"), limit=9) == []
    assert [each.name for each in public_rooms.page(tx, Wanted("", ["m.space"]), limit=9)] == ["Verona"]
    assert public_rooms.count(tx, Wanted("", [None])) == 3
    assert public_rooms.count(tx, Wanted("", [])) == 0


def test_the_state_of_an_invite_is_replaced_and_forgotten(tx: Cursor) -> None:
    invite_states.put(tx, 1, ROMEO, b"[1]")
    invite_states.put(tx, 1, ROMEO, b"[2]")
    assert invite_states.one(tx, 1, ROMEO) == b"[2]"
    invite_states.delete(tx, 1, ROMEO)
    assert invite_states.one(tx, 1, ROMEO) is None


def test_the_cursor_of_a_follower_never_goes_back(tx: Cursor) -> None:
    assert log_head.cursor_of(tx, "sender") is None
    log_head.save_cursor(tx, "sender", 5)
    log_head.save_cursor(tx, "sender", 3)
    assert log_head.cursor_of(tx, "sender") == 5
    log_head.delete_cursor(tx, "sender")
    assert log_head.cursor_of(tx, "sender") is None


def test_whatever_is_written_through_the_log_can_be_prepared(tx: Cursor, romeo: Account) -> None:
    number, _ = devices.put(tx, ROMEO, "PHONE", None, 5)
    gathered = Collector(Prepared())
    devices.note_seen(gathered, [Seen(number, 77, "::1", "it's")])
    device_transactions.note(gathered, number, "sendToDevice/m.x/1", 7)
    invite_states.put(gathered, 1, ROMEO, b"[1]")
    invite_states.put(gathered, 2, ROMEO, b"[2]")
    invite_states.delete(gathered, 1, ROMEO)
    log_head.save_cursor(gathered, "sender", 5)
    log_head.move(gathered, 6, 7)
    to_device.persist(
        gathered, [placed(ToDeviceRow(ROMEO, number, b'{"a":"\\u0000\'"}'), position) for position in (1, 2)]
    )
    to_device.delete_upto(gathered, number, 1)
    account_data.persist(gathered, [placed(AccountDataRow(ROMEO, "", "a", b"{}"), 3)])
    receipts.persist(gathered, [placed(ReceiptRow(1, ROMEO, "m.read", "", "$e", 1, 1000), 4)])
    tx.execute(gathered.text())
    seen = devices.one(tx, ROMEO, "PHONE")
    assert seen is not None
    assert (seen.last_seen_ts, seen.last_seen_user_agent) == (77, "it's")
    assert device_transactions.is_known(tx, number, "sendToDevice/m.x/1")
    assert (invite_states.one(tx, 1, ROMEO), invite_states.one(tx, 2, ROMEO)) == (None, b"[2]")
    assert log_head.cursor_of(tx, "sender") == 5
    assert [row.json for row in to_device.waiting(tx, number, 0, 9, 9)] == [b'{"a":"\\u0000\'"}']
    assert account_data.one(tx, ROMEO, "", "a") == b"{}"
    assert len(receipts.of_user(tx, ROMEO)) == 1
    devices_gone = Collector(Prepared())
    devices.delete(devices_gone, [number])
    log_head.delete_cursor(devices_gone, "sender")
    tx.execute("DEALLOCATE ALL;" + devices_gone.text())
    assert devices.of_user(tx, ROMEO) == []
