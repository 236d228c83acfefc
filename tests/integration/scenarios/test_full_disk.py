"""The database's disk is full for a while: whoever writes is kept waiting, and nothing is lost or done twice."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from tests.cast import PASSWORD, Cast
from tests.postgres import FreshDatabase
from tests.servers import MakeServer
from tests.wire import client_path

pytestmark = pytest.mark.myelin

# What PostgreSQL says when it cannot extend a file. The sequence counts, as it does not roll back.
FULL = """
CREATE SEQUENCE refusals;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM nextval('refusals'); RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER refuse BEFORE INSERT ON access_tokens FOR EACH ROW EXECUTE FUNCTION refuse();
"""
MENDED = "DROP TRIGGER refuse ON events; DROP TRIGGER refuse ON access_tokens"
PATIENCE_S = 20.0


def asked(dsn: str, sql: str) -> list[tuple[int, ...]]:
    """Carry out a statement; its rows."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as tx:
        tx.execute(sql)
        rows = tx.fetchall() if tx.description else []
        connection.commit()
        return rows


def test_a_full_disk_is_waited_for(make_server: MakeServer, fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()
    server = make_server(dsn=dsn)
    romeo = Cast(server)("romeo")
    room = romeo.creates_room()
    before = romeo.says(room, "before")
    login = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": romeo.user_id}}
    asked(dsn, FULL)
    with ThreadPoolExecutor(3) as at_once:
        saying = [at_once.submit(romeo.says, room, "meanwhile", txn_id="t") for _ in range(2)]
        entering = at_once.submit(server.wire.ask, "POST", client_path("login"), {**login, "password": PASSWORD})
        until_s = time.monotonic() + PATIENCE_S
        while asked(dsn, "SELECT last_value FROM refusals")[0][0] < 3:
            assert time.monotonic() < until_s, "nobody tried to write"
            time.sleep(0.01)
        # What needs no disk goes on, also what is asked of the database.
        assert before in romeo.sync().timeline(room)
        assert romeo.event(room, before)["content"]["body"] == "before"
        asked(dsn, MENDED)
        assert saying[0].result() == saying[1].result()
        assert entering.result().status == 200
    assert romeo.sync().timeline(room).bodies == ["before", "meanwhile"]
    assert server.errors() == []
