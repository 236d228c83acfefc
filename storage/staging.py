"""What other servers have sent us. Owns the tables inbound_transactions, staged_pdus and event_verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from psycopg2.extensions import cursor as Cursor

from storage.statements import Statements, json_lines, storable


@dataclass(frozen=True, slots=True)
class StagedPdu:
    """An event that we have taken, but whose past, or the keys of whose signers, have to be fetched first."""

    room_id: str
    event_id: str
    origin: str
    json: bytes
    received_ts: int


class AnswerRow(msgspec.Struct, frozen=True):
    """What a transaction was answered with."""

    origin: str
    txn_id: str
    answer: bytes
    received_ts: int


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """Why an event of another server was not simply accepted."""

    event_id: str
    room_id: str
    origin: str
    verdict: str
    rule: str
    reason: str
    decided_ts: int


def stage(tx: Statements, pdus: Sequence[StagedPdu]) -> None:
    """Keep events until they can be judged."""
    tx.execute(
        "INSERT INTO staged_pdus (room_id, event_id, origin, json, received_ts)"
        " SELECT room_id, event_id, origin, convert_to(json, 'UTF8'), received_ts"
        " FROM unnest(%s::text[], %s::text[], %s::text[], string_to_array(%s, E'\\n'), %s::bigint[])"
        " AS pdu (room_id, event_id, origin, json, received_ts) ON CONFLICT DO NOTHING",
        (
            [pdu.room_id for pdu in pdus],
            [pdu.event_id for pdu in pdus],
            [pdu.origin for pdu in pdus],
            json_lines([pdu.json for pdu in pdus]),
            [pdu.received_ts for pdu in pdus],
        ),
    )


def unstage(tx: Statements, room_id: str, event_ids: Sequence[str]) -> None:
    """These events have been dealt with."""
    tx.execute("DELETE FROM staged_pdus WHERE room_id = %s AND event_id = ANY(%s)", (room_id, list(event_ids)))


def counts_staged(tx: Cursor) -> dict[str, int]:
    """The rooms that have events waiting, and how many."""
    tx.execute("SELECT room_id, count(*) FROM staged_pdus GROUP BY room_id")
    return dict(tx.fetchall())


def staged_in(tx: Cursor, room_id: str, but: Sequence[str], limit: int) -> list[StagedPdu]:
    """The first events that wait in a room, but for some."""
    tx.execute(
        "SELECT event_id, origin, json, received_ts FROM staged_pdus WHERE room_id = %s AND event_id <> ALL(%s::text[])"
        " ORDER BY staged LIMIT %s",
        (room_id, list(but), limit),
    )
    return [StagedPdu(room_id, event_id, origin, bytes(json), at) for event_id, origin, json, at in tx.fetchall()]


def answer_to(tx: Cursor, origin: str, txn_id: str) -> bytes | None:
    """What a transaction was answered with; None if it is new."""
    tx.execute("SELECT answer FROM inbound_transactions WHERE origin = %s AND txn_id = %s", (origin, txn_id))
    row = tx.fetchone()
    return None if row is None else bytes(row[0])


def keep_answers(tx: Statements, answers: Sequence[AnswerRow]) -> None:
    """Remember what transactions were answered with."""
    tx.execute(
        "INSERT INTO inbound_transactions (origin, txn_id, answer, received_ts)"
        " SELECT * FROM unnest(%s::text[], %s::text[], %s::bytea[], %s::bigint[]) ON CONFLICT DO NOTHING",
        (
            [storable(row.origin) for row in answers],
            [storable(row.txn_id) for row in answers],
            [row.answer for row in answers],
            [row.received_ts for row in answers],
        ),
    )


def write_verdicts(tx: Statements, verdicts: Sequence[VerdictRow]) -> None:
    """Note what became of events. A later verdict on an event replaces the former one."""
    newest = list({row.event_id: row for row in verdicts}.values())
    tx.execute(
        "INSERT INTO event_verdicts (event_id, room_id, origin, verdict, rule, reason, decided_ts)"
        " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[])"
        " ON CONFLICT (event_id) DO UPDATE SET origin = excluded.origin, verdict = excluded.verdict,"
        " rule = excluded.rule, reason = excluded.reason, decided_ts = excluded.decided_ts",
        (
            [storable(row.event_id) for row in newest],
            [storable(row.room_id) for row in newest],
            [storable(row.origin) for row in newest],
            [row.verdict for row in newest],
            [row.rule for row in newest],
            [storable(row.reason)[:1000] for row in newest],
            [row.decided_ts for row in newest],
        ),
    )


def verdict_on(tx: Cursor, event_id: str) -> VerdictRow | None:
    """What was decided about an event, if it was not simply accepted."""
    tx.execute(
        "SELECT event_id, room_id, origin, verdict, rule, reason, decided_ts FROM event_verdicts WHERE event_id = %s",
        (event_id,),
    )
    row = tx.fetchone()
    return None if row is None else VerdictRow(*row)


def is_staged(tx: Cursor, event_id: str) -> str | None:
    """The server that sent an event which still waits; None if it does not wait."""
    tx.execute("SELECT origin FROM staged_pdus WHERE event_id = %s LIMIT 1", (event_id,))
    row = tx.fetchone()
    return None if row is None else str(row[0])


def forget_before(tx: Cursor, transactions_ts: int, verdicts_ts: int, most_verdicts: int) -> None:
    """Drop old answers and old verdicts, and of the latter all but the newest `most_verdicts`."""
    tx.execute("DELETE FROM inbound_transactions WHERE received_ts < %s", (transactions_ts,))
    tx.execute(
        "DELETE FROM event_verdicts WHERE decided_ts < greatest(%s, coalesce("
        "(SELECT decided_ts FROM event_verdicts ORDER BY decided_ts DESC OFFSET %s LIMIT 1), 0))",
        (verdicts_ts, most_verdicts),
    )
