"""What the functions of the tables of keys ask and change, on every version of PostgreSQL that is there."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest

from homeserver.users.sessions import delete_devices
from storage import (
    accounts,
    cross_signing,
    dehydrated_devices,
    device_keys,
    device_lists,
    devices,
    key_backups,
    one_time_keys,
    received_messages,
    remote_devices,
    to_device,
)
from storage.accounts import Account
from storage.cross_signing import CrossSigningKey, KeySignature
from storage.database import Cursor
from storage.key_backups import BackedUpSession, Which
from storage.one_time_keys import Claim, OneTimeKey
from storage.remote_devices import RemoteList
from storage.rows import DeviceListRow, ToDeviceRow
from storage.statements import Collector, Prepared, Statements
from tests.postgres import FreshDatabase

ROMEO, BENVOLIO = "@romeo:verona", "@benvolio:mantua"


@pytest.fixture
def tx(any_database: FreshDatabase) -> Iterator[Cursor]:
    connection = psycopg2.connect(any_database())
    with connection.cursor() as cursor:
        accounts.insert(cursor, Account(ROMEO, "hash", 1))
        yield cursor
    connection.close()


@pytest.fixture
def phone(tx: Cursor) -> int:
    return devices.put(tx, ROMEO, "PHONE", "phone", 5)[0]


def changed(user_id: str, position: int, device_id: str | None = "D") -> DeviceListRow:
    row = DeviceListRow(user_id, device_id)
    row.position = position
    return row


def test_a_user_has_one_position_and_the_stream_of_their_devices(tx: Cursor) -> None:
    assert device_lists.stream_of(tx, ROMEO) == (0, None)
    device_lists.persist(tx, [changed(ROMEO, 2, None)])
    assert device_lists.stream_of(tx, ROMEO) == (0, None)
    device_lists.persist(tx, [changed(ROMEO, 3)])
    assert device_lists.stream_of(tx, ROMEO) == (3, None)
    device_lists.persist(tx, [changed(ROMEO, 5), changed(BENVOLIO, 6), changed(ROMEO, 7)])
    assert device_lists.stream_of(tx, ROMEO) == (7, 5)
    device_lists.persist(tx, [changed(ROMEO, 8, None)])
    assert device_lists.stream_of(tx, ROMEO) == (7, 5)
    device_lists.persist(tx, [changed(ROMEO, 9), changed(ROMEO, 10, None)])
    assert device_lists.stream_of(tx, ROMEO) == (9, 7)
    assert [(row.user_id, row.position) for row in device_lists.after(tx, 0, 10, 5)] == [(BENVOLIO, 6), (ROMEO, 10)]
    assert device_lists.changed_near(tx, ROMEO, 9) == [ROMEO]
    assert device_lists.changed_near(tx, ROMEO, 10) == []
    tx.execute("INSERT INTO memberships VALUES (1, %s, 'join', 1), (1, %s, 'join', 1)", (ROMEO, BENVOLIO))
    assert sorted(device_lists.changed_near(tx, ROMEO, 5)) == [BENVOLIO, ROMEO]


def test_keys_are_kept_as_they_came_with_the_number_of_those_given_out(tx: Cursor, phone: int) -> None:
    keys = [OneTimeKey("a", key_id, b'"a string"') for key_id in ("z", "b\\", "y")]
    first = one_time_keys.batches(0, [*keys, OneTimeKey("c", "z", b'{"it\'s":"\\u0000"}')])
    one_time_keys.insert(tx, phone, first)
    one_time_keys.insert(tx, phone, one_time_keys.batches(2, [OneTimeKey("a", "x", b'"x"')]))
    one_time_keys.insert(tx, phone + 1000, first)
    assert one_time_keys.counts(tx, phone) == {"a": 4, "c": 1}
    one_time_keys.give(tx, [(phone, 1, 2), (phone, 2, 1), (phone + 1000, 1, 1)])
    assert one_time_keys.counts(tx, phone) == {"a": 2}
    held = one_time_keys.of_devices(tx, [phone, phone + 1000])
    assert held[phone + 1000] == []
    assert [(each.number, each.algorithm, each.given) for each in held[phone]] == [
        (1, "a", 2),
        (2, "c", 1),
        (3, "a", 0),
    ]
    assert [(key_id, bytes(json)) for key_id, json in held[phone][0].keys.items()] == [
        (key.key_id, key.json) for key in keys
    ]
    one_time_keys.forget(tx, phone, [2, 3])
    assert [each.number for each in one_time_keys.of_devices(tx, [phone])[phone]] == [1]


def test_a_device_that_is_deleted_leaves_no_key_behind(tx: Cursor, phone: int) -> None:
    laptop, _ = devices.put(tx, ROMEO, "LAPTOP", None, 5)
    for device in (phone, laptop):
        device_keys.put(tx, device, b"{}")
        one_time_keys.insert(tx, device, one_time_keys.batches(0, [OneTimeKey("a", "x", b'"x"')]))
        one_time_keys.put_fallback(tx, device, [OneTimeKey("a", "f", b'"f"')])
    delete_devices(tx, [phone])
    for table in ("device_keys", "one_time_keys", "fallback_keys"):
        tx.execute(f"SELECT device FROM {table}")
        assert tx.fetchall() == [(laptop,)], table


def test_a_fallback_key_is_given_out_again_and_again(tx: Cursor, phone: int) -> None:
    one_time_keys.put_fallback(tx, phone, [OneTimeKey("a", "f", b'"f"')])
    one_time_keys.put_fallback(tx, phone + 1000, [OneTimeKey("a", "f", b'"f"')])
    assert one_time_keys.unused_fallback_algorithms(tx, phone) == ["a"]
    wanted = [(phone, Claim(ROMEO, "PHONE", "a")), (phone, Claim(ROMEO, "PHONE", "none"))]
    given = [one_time_keys.claim_fallback(tx, wanted) for _ in range(2)]
    assert [[(each.key.key_id, each.is_first_use) for each in found] for found in given] == [
        [("f", True)],
        [("f", False)],
    ]
    assert one_time_keys.unused_fallback_algorithms(tx, phone) == []


def test_lists_of_others_are_kept_and_forgotten(tx: Cursor) -> None:
    remote_devices.replace(tx, BENVOLIO, 5, {"A": b'{"a":1}', "B": b"{}"}, is_stale=False)
    remote_devices.replace(tx, BENVOLIO, 6, {"B": b'{"b":1}', "C": b"{}"}, is_stale=True)
    assert remote_devices.lists_of(tx, [BENVOLIO, ROMEO]) == {BENVOLIO: RemoteList(6, True)}
    assert remote_devices.devices_of(tx, [BENVOLIO]) == [(BENVOLIO, "B", b'{"b":1}'), (BENVOLIO, "C", b"{}")]
    assert remote_devices.stale(tx, "", 5) == [BENVOLIO]
    assert remote_devices.stale(tx, BENVOLIO, 5) == []
    tx.execute("INSERT INTO memberships VALUES (1, %s, 'join', 1), (1, %s, 'join', 1)", (ROMEO, BENVOLIO))
    assert remote_devices.is_near(tx, BENVOLIO, "verona")
    assert remote_devices.forget_strangers(tx, "verona", None) == 0
    tx.execute("UPDATE memberships SET membership = 'leave' WHERE user_id = %s", (ROMEO,))
    assert not remote_devices.is_near(tx, BENVOLIO, "verona")
    assert remote_devices.forget_strangers(tx, "verona", [ROMEO]) == 0
    assert remote_devices.forget_strangers(tx, "verona", None) == 1
    assert remote_devices.devices_of(tx, [BENVOLIO]) == []


def test_a_backup_keeps_the_better_key(tx: Cursor) -> None:
    assert key_backups.create(tx, ROMEO, "x", b"{}") == 1
    good = BackedUpSession("!r", "s", True, 5, 5, b'{"good":"\\u0000"}')
    bad = BackedUpSession("!r", "s", False, 0, 0, b"{}")
    assert key_backups.put(tx, ROMEO, 1, [bad, BackedUpSession("!r", "t", False, 0, 0, b"{}")]).sessions == 2
    assert key_backups.put(tx, ROMEO, 1, [good]).etag == 2
    assert key_backups.put(tx, ROMEO, 1, [bad]).etag == 2
    assert key_backups.sessions(tx, ROMEO, 1, Which("!r", "s")) == [good]
    assert key_backups.delete_sessions(tx, ROMEO, 1, Which("!r", "s")).sessions == 1
    assert key_backups.delete(tx, ROMEO, 1)
    assert not key_backups.delete(tx, ROMEO, 1)
    assert key_backups.create(tx, ROMEO, "x", b"{}") == 2


def test_another_key_takes_the_signatures_of_the_one_before_along(tx: Cursor) -> None:
    cross_signing.put_key(tx, CrossSigningKey(ROMEO, "master", "M1", b"{}"))
    cross_signing.put_key(tx, CrossSigningKey(ROMEO, "self_signing", "S1", b"{}"))
    on_master = KeySignature(ROMEO, "M1", ROMEO, "ed25519:PHONE", "x")
    on_phone = KeySignature(ROMEO, "PHONE", ROMEO, "ed25519:S1", "x")
    on_other = KeySignature(BENVOLIO, "B", ROMEO, "ed25519:U1", "x")
    cross_signing.put_signatures(tx, [on_master, on_phone, on_other], 7)
    assert cross_signing.signed_others(tx, ROMEO, 6) == [BENVOLIO]
    assert cross_signing.signed_others(tx, ROMEO, 7) == []
    cross_signing.put_key(tx, CrossSigningKey(ROMEO, "master", "M1", b'{"same":1}'))
    assert set(cross_signing.signatures_on(tx, [ROMEO, BENVOLIO], ROMEO)) == {on_master, on_phone, on_other}
    assert set(cross_signing.signatures_on(tx, [ROMEO, BENVOLIO], None)) == {on_master, on_phone}
    cross_signing.put_key(tx, CrossSigningKey(ROMEO, "self_signing", "S2", b"{}"))
    cross_signing.put_key(tx, CrossSigningKey(ROMEO, "master", "M2", b"{}"))
    assert cross_signing.signatures_on(tx, [ROMEO], None) == []
    assert cross_signing.has_public_key(tx, ROMEO, "S2")
    assert not cross_signing.has_public_key(tx, ROMEO, "S1")


def test_whatever_is_written_through_the_log_can_be_prepared(tx: Cursor, phone: int) -> None:
    def write(statements: Statements) -> None:
        device_lists.persist(statements, [changed(ROMEO, 5)])
        device_keys.put(statements, phone, b'{"it\'s":"\\\\"}')
        cross_signing.delete_keys(statements, ROMEO, ["user_signing"])
        cross_signing.put_key(statements, CrossSigningKey(ROMEO, "master", "M", b"{}"))
        cross_signing.delete_signatures_on(statements, ROMEO, ["PHONE"])
        cross_signing.put_signatures(statements, [KeySignature(ROMEO, "PHONE", ROMEO, "ed25519:M", "+/'")], 5)
        dehydrated_devices.put(statements, ROMEO, phone, b"{}")
        one_time_keys.insert(statements, phone, one_time_keys.batches(0, [OneTimeKey("a'", "b\\", b'{"\\"":"\'"}')]))
        one_time_keys.give(statements, [(phone, 1, 1)])
        one_time_keys.forget(statements, phone, [1])
        one_time_keys.put_fallback(statements, phone, [OneTimeKey("a", "f", b'"f"')])
        remote_devices.replace(statements, BENVOLIO, 5, {"A": b"{}"}, is_stale=False)
        remote_devices.delete_device(statements, BENVOLIO, "A")
        remote_devices.replace(statements, BENVOLIO, 6, {}, is_stale=False)
        received_messages.note(statements, "mantua", "1", 7)

    gathered = Collector(Prepared())
    write(gathered)
    tx.execute(gathered.text())
    write(tx)
    assert device_keys.of_uploader(tx, phone) == (b'{"it\'s":"\\\\"}', False)
    assert device_keys.of_uploader(tx, phone + 1000) == (None, False)
    cross_signing.put_key(tx, CrossSigningKey(ROMEO, "self_signing", "PHONE", b"{}"))
    assert device_keys.of_uploader(tx, phone) == (b'{"it\'s":"\\\\"}', True)
    assert [each.device_id for each in device_keys.of_users(tx, [ROMEO])] == ["PHONE"]
    sleeping = dehydrated_devices.of_user(tx, ROMEO)
    assert sleeping is not None and sleeping.device_id == "PHONE"
    assert received_messages.is_known(tx, "mantua", "1")
    assert received_messages.delete_older(tx, 8, 10) == 1


def test_queues_are_cut_at_their_oldest_end(tx: Cursor, phone: int) -> None:
    rows = [ToDeviceRow(ROMEO, phone, b"{}") for _ in range(10)]
    for position, row in enumerate(rows, start=1):
        row.position = position
    to_device.persist(tx, rows)
    assert to_device.trim(tx, phone, 10) == 0
    assert to_device.trim(tx, phone, 4) == 6
    assert [row.position for row in to_device.waiting(tx, phone, 0, 99, 99)] == [7, 8, 9, 10]
    assert to_device.delete_older(tx, 1, 10) == 0
    assert to_device.delete_older(tx, 2**60, 3) == 3
    dehydrated_devices.put(tx, ROMEO, phone, b"{}")
    assert to_device.delete_older(tx, 2**60, 3) == 0


def test_a_device_that_is_deleted_takes_its_queue_along(tx: Cursor, phone: int) -> None:
    tablet, _ = devices.put(tx, ROMEO, "TABLET", None, 5)
    rows = [ToDeviceRow(ROMEO, device, b"{}") for device in (phone, tablet, phone)]
    for position, row in enumerate(rows, start=1):
        row.position = position
    to_device.persist(tx, rows)
    delete_devices(tx, [phone])
    tx.execute("SELECT device, position FROM to_device")
    assert tx.fetchall() == [(tablet, 2)]
    # What was on its way to the device is dropped.
    rows[0].position = 4
    to_device.persist(tx, [rows[0]])
    tx.execute("SELECT count(*) FROM to_device")
    assert tx.fetchone() == (1,)
