"""Writes events and everything that changes with them, a batch of the log at a time, with one statement a table.

Owns the tables rooms, events, auth_edges, relations, state_nodes, state_history, memberships, membership_changes,
room_summaries and room_heads (for writing; the readers stand in the modules of their areas). An alias that a new room
begins with is written with it, through storage.aliases, the end of its known history through
storage.received, and redactions that came too early through storage.redactions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from psycopg2.extensions import cursor as Cursor

from storage import aliases, received, redactions
from storage.rows import EventRow, RoomChanges, RoomHead, RoomSummary, StateRow
from storage.statements import Statements, json_lines, storable


def persist_events(tx: Statements, rows: Sequence[EventRow]) -> None:
    """Write events in their order, with their changes."""
    changed = [(row, row.changes) for row in rows if row.changes is not None]
    # Most messages change nothing but the head of their room.
    more = [each for each in changed if not each[1].is_head_alone]
    if more:
        _insert_rooms(tx, more)
    _insert_events(tx, rows)
    if more:
        _write_more(tx, more)
    _insert_state_history(tx, rows)
    _write_memberships(tx, rows)
    _write_heads(tx, changed)


def persist_states(tx: Statements, rows: Sequence[StateRow]) -> None:
    """Write states that rooms got without an event. Their nodes come with `give_states`."""
    changed = [(row, row.changes) for row in rows]
    _insert_state_history(tx, rows)
    _write_memberships(tx, rows)
    _write_summaries(tx, changed)
    _write_heads(tx, changed)


def forget(tx: Cursor, room: int, user_id: str) -> bool:
    """Mark a room that a user has left as forgotten; False if they have no such membership, or are in the room."""
    tx.execute(
        "UPDATE memberships SET is_forgotten = true"
        " WHERE room = %s AND user_id = %s AND membership IN ('leave', 'ban')",
        (room, user_id),
    )
    return tx.rowcount == 1


def publish_room(tx: Statements, room: int, is_published: bool) -> None:
    """List a room in the directory, or take it out."""
    tx.execute("UPDATE rooms SET is_published = %s WHERE room = %s", (is_published, room))


def set_version(tx: Cursor, room: int, version: str) -> bool:
    """Correct the version of a room; whether it was another one."""
    tx.execute("UPDATE rooms SET version = %s WHERE room = %s AND version <> %s", (version, room, version))
    return tx.rowcount > 0


def make_room(tx: Statements, room: int, room_id: str, version: str) -> None:
    """A room of which we have no event yet."""
    tx.execute("INSERT INTO rooms (room, room_id, version) VALUES (%s, %s, %s)", (room, room_id, version))


def give_states(
    tx: Statements,
    room: int,
    given: Sequence[tuple[int, bytes, int]],
    nodes: Mapping[bytes, bytes],
    found: Sequence[str],
) -> None:
    """Events that came as parts of a state get the state before them: position, root, status.

    `nodes` are new; at the events `found` the room's history does not end any more.
    """
    if nodes:
        _write_nodes(tx, {(room, node): data for node, data in nodes.items()})
    if given:
        tx.execute(
            "UPDATE events SET state_root = given.root, status = given.status"
            " FROM unnest(%s::bigint[], %s::bytea[], %s::smallint[]) AS given (position, root, status)"
            " WHERE events.position = given.position",
            ([each[0] for each in given], [each[1] for each in given], [each[2] for each in given]),
        )
    if found:
        received.forget_ends(tx, [(room, event_id) for event_id in found])


def give_edges(tx: Statements, given: Sequence[tuple[int, Sequence[int], int, int]]) -> None:
    """Memberships that came before their room get their auth events: position, positions of these, rank, status."""
    positions = [each[0] for each in given]
    tx.execute(
        "INSERT INTO auth_edges (position, auth, rank) SELECT position, auth::bigint[], rank"
        " FROM unnest(%s::bigint[], %s::text[], %s::integer[]) AS edge (position, auth, rank) ON CONFLICT DO NOTHING",
        (positions, [tuple(each[1]) for each in given], [each[2] for each in given]),
    )
    tx.execute(
        "UPDATE events SET status = given.status FROM unnest(%s::bigint[], %s::smallint[]) AS given (position, status)"
        " WHERE events.position = given.position",
        (positions, [each[3] for each in given]),
    )


def reserve_rooms(tx: Cursor, count: int) -> list[int]:
    """Numbers for new rooms, never given out again."""
    tx.execute("SELECT nextval(pg_get_serial_sequence('rooms', 'room')) FROM generate_series(1, %s)", (count,))
    return [number for (number,) in tx.fetchall()]


_Changed = Sequence[tuple[EventRow, RoomChanges]]
_AnyChanged = Sequence[tuple[EventRow | StateRow, RoomChanges]]

_REPLACE_HEAD: Final = (
    "ON CONFLICT (room) DO UPDATE SET extremities = excluded.extremities, state_root = excluded.state_root,"
    " depth = excluded.depth, position = excluded.position"
)


def _write_more(tx: Statements, changed: _Changed) -> None:
    """All that few events change."""
    _insert_nodes(tx, changed)
    _insert_auth_edges(tx, changed)
    _insert_relations(tx, changed)
    _apply_redactions(tx, changed)
    received.write_ends(tx, changed)
    redactions.write(tx, changed)
    _write_summaries(tx, changed)


def _insert_rooms(tx: Statements, changed: _Changed) -> None:
    for row, changes in changed:
        new = changes.new_room
        if new is None:
            continue
        tx.execute(
            "INSERT INTO rooms (room, room_id, version, is_published) VALUES (%s, %s, %s, %s)",
            (row.room, new.room_id, new.version, new.is_published),
        )
        if new.alias is not None:
            aliases.insert(tx, new.alias, row.room, row.event.sender, row.event.origin_server_ts)


def _insert_events(tx: Statements, rows: Sequence[EventRow]) -> None:
    if len(rows) == 1:
        _insert_event(tx, rows[0])
        return
    tx.execute(
        "INSERT INTO events (position, room, event_id, type, state_key, depth, status, state_root, json, redacted_by,"
        " thread, device, txn_path)"
        " SELECT position, room, event_id, type, state_key, depth, status, state_root, convert_to(json, 'UTF8'),"
        " redacted_by, thread, device, txn_path"
        " FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::smallint[],"
        " %s::bytea[], string_to_array(%s, E'\\n'), %s::bigint[], %s::text[], %s::bigint[], %s::text[])"
        " AS event (position, room, event_id, type, state_key, depth, status, state_root, json, redacted_by, thread,"
        " device, txn_path)",
        (
            [row.position for row in rows],
            [row.room for row in rows],
            [row.event.event_id for row in rows],
            [storable(row.event.type) for row in rows],
            [_text(row.event.state_key) for row in rows],
            [row.event.depth for row in rows],
            [int(row.status) for row in rows],
            [row.state_root for row in rows],
            json_lines([row.event.json for row in rows]),
            [row.redacted_by for row in rows],
            [row.thread for row in rows],
            [row.device for row in rows],
            [_text(row.txn_path) for row in rows],
        ),
    )


def _insert_event(tx: Statements, row: EventRow) -> None:
    """What comes alone: arrays of one cost both sides twice as much."""
    event = row.event
    tx.execute(
        "INSERT INTO events (position, room, event_id, type, state_key, depth, status, state_root, json, redacted_by,"
        " thread, device, txn_path)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, convert_to(%s, 'UTF8'), %s, %s, %s, %s)",
        (
            row.position,
            row.room,
            event.event_id,
            storable(event.type),
            _text(event.state_key),
            event.depth,
            int(row.status),
            row.state_root,
            event.json.decode(),
            row.redacted_by,
            row.thread,
            row.device,
            _text(row.txn_path),
        ),
    )


def _insert_nodes(tx: Statements, changed: _Changed) -> None:
    nodes = {
        (row.room, node): data for row, changes in changed if changes.nodes for node, data in changes.nodes.items()
    }
    if nodes:
        _write_nodes(tx, nodes)


def _write_nodes(tx: Statements, nodes: Mapping[tuple[int, bytes], bytes]) -> None:
    tx.execute(
        "INSERT INTO state_nodes (room, node, data) SELECT * FROM unnest(%s::bigint[], %s::bytea[], %s::bytea[])"
        " ON CONFLICT DO NOTHING",
        ([room for room, _ in nodes], [node for _, node in nodes], list(nodes.values())),
    )


def _insert_state_history(tx: Statements, rows: Sequence[EventRow | StateRow]) -> None:
    roots = [row for row in rows if row.room_root is not None]
    if roots:
        tx.execute(
            "INSERT INTO state_history (room, position, state_root)"
            " SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bytea[])",
            ([row.room for row in roots], [row.position for row in roots], [row.room_root for row in roots]),
        )


def _insert_auth_edges(tx: Statements, changed: _Changed) -> None:
    edges = [(row, changes.auth) for row, changes in changed if changes.auth is not None]
    if edges:
        tx.execute(
            "INSERT INTO auth_edges (position, auth, rank) SELECT position, auth::bigint[], rank"
            " FROM unnest(%s::bigint[], %s::text[], %s::integer[]) AS edge (position, auth, rank)",
            ([row.position for row, _ in edges], [auth for _, auth in edges], [row.rank or 0 for row, _ in edges]),
        )


def _insert_relations(tx: Statements, changed: _Changed) -> None:
    relations = [(*changes.relates_to, row.position) for row, changes in changed if changes.relates_to is not None]
    if relations:
        tx.execute(
            "INSERT INTO relations (target, rel_type, position)"
            " SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[])",
            tuple(map(list, zip(*relations, strict=True))),
        )


def _apply_redactions(tx: Statements, changed: _Changed) -> None:
    applied = [(row.position, changes.redaction) for row, changes in changed if changes.redaction is not None]
    if not applied:
        return
    tx.execute(
        "UPDATE events SET json = convert_to(redacted.json, 'UTF8'), redacted_by = redacted.redaction"
        " FROM unnest(%s::bigint[], string_to_array(%s, E'\\n'), %s::bigint[]) AS redacted (position, json, redaction)"
        " WHERE events.position = redacted.position",
        (
            [redaction.position for _, redaction in applied],
            json_lines([redaction.event.json for _, redaction in applied]),
            [position for position, _ in applied],
        ),
    )
    related = [redaction for _, redaction in applied if redaction.relates_to is not None]
    if related:
        # What is redacted no longer relates to anything.
        tx.execute(
            "DELETE FROM relations USING unnest(%s::text[], %s::bigint[]) AS gone (target, position)"
            " WHERE relations.target = gone.target AND relations.position = gone.position",
            ([redaction.relates_to for redaction in related], [redaction.position for redaction in related]),
        )


def _write_memberships(tx: Statements, rows: Sequence[EventRow | StateRow]) -> None:
    changes = [(row, change) for row in rows for change in row.members]
    if not changes:
        return
    newest = {(row.room, storable(change.user_id)): change for row, change in changes}
    tx.execute(
        "INSERT INTO memberships (room, user_id, membership, position)"
        " SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bigint[])"
        " ON CONFLICT (room, user_id) DO UPDATE SET membership = excluded.membership, position = excluded.position,"
        " is_forgotten = false",
        (
            [room for room, _ in newest],
            [user_id for _, user_id in newest],
            [change.membership for change in newest.values()],
            [change.position for change in newest.values()],
        ),
    )
    local = [(row, change) for row, change in changes if change.is_local]
    if local:
        tx.execute(
            "INSERT INTO membership_changes (user_id, position, room, membership)"
            " SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::text[])",
            (
                [storable(change.user_id) for _, change in local],
                [row.position for row, _ in local],
                [row.room for row, _ in local],
                [change.membership for _, change in local],
            ),
        )


def _write_summaries(tx: Statements, changed: _AnyChanged) -> None:
    summaries: dict[int, RoomSummary] = {row.room: c.summary for row, c in changed if c.summary is not None}
    if not summaries:
        return
    shown = list(summaries.values())
    tx.execute(
        "INSERT INTO room_summaries (room, name, topic, avatar_url, canonical_alias, join_rule, history_visibility,"
        " guest_access, room_type, encryption, joined_members, invited_members)"
        " SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],"
        " %s::text[], %s::text[], %s::text[], %s::integer[], %s::integer[])"
        " ON CONFLICT (room) DO UPDATE SET name = excluded.name, topic = excluded.topic,"
        " avatar_url = excluded.avatar_url, canonical_alias = excluded.canonical_alias, join_rule = excluded.join_rule,"
        " history_visibility = excluded.history_visibility, guest_access = excluded.guest_access,"
        " room_type = excluded.room_type, encryption = excluded.encryption,"
        " joined_members = excluded.joined_members, invited_members = excluded.invited_members",
        (
            list(summaries),
            [_text(summary.name) for summary in shown],
            [_text(summary.topic) for summary in shown],
            [_text(summary.avatar_url) for summary in shown],
            [_text(summary.canonical_alias) for summary in shown],
            [_text(summary.join_rule) for summary in shown],
            [_text(summary.history_visibility) for summary in shown],
            [_text(summary.guest_access) for summary in shown],
            [_text(summary.room_type) for summary in shown],
            [_text(summary.encryption) for summary in shown],
            [summary.joined_members for summary in shown],
            [summary.invited_members for summary in shown],
        ),
    )


def _write_heads(tx: Statements, changed: _AnyChanged) -> None:
    heads: dict[int, RoomHead] = {row.room: changes.head for row, changes in changed if changes.head is not None}
    if not heads:
        return
    if len(heads) == 1:
        ((room, head),) = heads.items()
        tx.execute(
            "INSERT INTO room_heads (room, extremities, state_root, depth, position) VALUES (%s, %s, %s, %s, %s)"
            f" {_REPLACE_HEAD}",
            (room, head.extremities, head.state_root, head.depth, head.position),
        )
        return
    newest = list(heads.values())
    tx.execute(
        "INSERT INTO room_heads (room, extremities, state_root, depth, position)"
        " SELECT room, extremities::bigint[], state_root, depth, position"
        " FROM unnest(%s::bigint[], %s::text[], %s::bytea[], %s::bigint[], %s::bigint[])"
        f" AS head (room, extremities, state_root, depth, position) {_REPLACE_HEAD}",
        (
            list(heads),
            [head.extremities for head in newest],
            [head.state_root for head in newest],
            [head.depth for head in newest],
            [head.position for head in newest],
        ),
    )


def _text(text: str | None) -> str | None:
    return None if text is None else storable(text)
