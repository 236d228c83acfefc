"""A PostgreSQL that the admin names is used instead of an own one: every version that this machine has."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

from tests.cast import Cast
from tests.integration.admin import hired, place_of_its_own
from tests.postgres import installed_programs, running
from tests.servers import SHARED_SECRET, Homeserver, database_url

PROGRAMS = installed_programs()


@pytest.mark.parametrize("version", sorted(PROGRAMS))
def test_people_talk_on_the_database_that_the_admin_names(version: str) -> None:
    with running(PROGRAMS[version]) as postgres, place_of_its_own() as place, hired(place / "data") as admin:
        dsn = postgres.empty_database()
        chosen = {
            "database.url": database_url(dsn),
            "registration.shared_secret": SHARED_SECRET,
            "passwords.memory": "8K",
            "passwords.iterations": "1",
        }
        made = admin.inits(*(word for key, value in chosen.items() for word in ("--set", f"{key}={value}")))
        assert made.code == 0, made.err
        started = admin.says("start")
        assert started.code == 0, started.err
        status = admin.says("status")
        assert status.code == 0, status.err
        assert "own PostgreSQL" not in status.out
        assert str(postgres.socket_folder) in status.out.replace("%2F", "/")
        assert not (admin.folder / "postgres").exists()
        assert admin.says("register-user", "friar", "--password-stdin", stdin="a long password\n").code == 0

        server = Homeserver(admin.url, "localhost", SHARED_SECRET)
        romeo, juliet = Cast(server)("romeo"), Cast(server)("juliet")
        room = romeo.creates_room(invite=[juliet])
        since = juliet.sync()
        juliet.joins(room)
        said = [romeo.says(room, str(number)) for number in range(30)]
        root = romeo.replies_in_thread(room, said[0], "in a thread")
        romeo.edits(room, said[1], "edited")
        romeo.redacts(room, said[2])
        juliet.reads(room, said[3])
        told = juliet.sync(since, filter={"room": {"timeline": {"limit": 100}}}).timeline(room)
        assert [event for event in told.ids if event in said] == said
        server.wire.close()
        assert admin.says("restart").code == 0
        assert [event for event in juliet.whole_history(room, backwards=False).ids if event in said] == said
        assert juliet.relations(room, said[0], "m.thread").ids == [root]
        assert juliet.members(room) == {romeo.user_id: "join", juliet.user_id: "join"}
        server.wire.close()
        assert admin.says("stop").code == 0
        # It is the admin's: it goes on running.
        with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as tx:
            tx.execute("SELECT count(*) FROM events")
            assert tx.fetchone() is not None
