"""Myelin's own PostgreSQL: started, stopped, killed, found again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from storage.own_postgres import OwnPostgres, OwnPostgresError
from tests.integration.admin import ROOT, is_alive, place_of_its_own, until


@pytest.fixture
def folder() -> Iterator[Path]:
    with place_of_its_own() as place:
        yield place / "data"
        left = OwnPostgres(place / "data").running()
        if left is not None:
            os.kill(left.process_id, signal.SIGQUIT)


def answer(dsn: str, question: str) -> object:
    """The one value that a question gives."""
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as tx:
            tx.execute(question)
            row = tx.fetchone()
            return row[0] if row else None
    finally:
        connection.close()


def tell(dsn: str, statement: str) -> None:
    """Carry out a statement."""
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as tx:
            tx.execute(statement)
    finally:
        connection.close()


def left_running(folder: Path) -> None:
    """A PostgreSQL whose Myelin was killed."""
    code = (
        "import os, sys; from pathlib import Path; from storage.own_postgres import OwnPostgres;"
        "OwnPostgres(Path(sys.argv[1])).start(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_was_written_is_there_after_a_stop_and_a_start(folder: Path) -> None:
    postgres = OwnPostgres(folder)
    tell(postgres.start(), "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('here')")
    assert postgres.stop()
    assert postgres.running() is None
    # As after a restore from a backup that keeps no modes.
    (folder / "postgres").chmod(0o755)
    assert answer(postgres.start(), "SELECT word FROM kept") == "here"
    assert stat.S_IMODE((folder / "postgres").stat().st_mode) == 0o700
    assert postgres.stop()
    assert not postgres.stop()


def test_an_answer_means_on_disk_and_nobody_reaches_it_over_the_network(folder: Path) -> None:
    postgres = OwnPostgres(folder)
    dsn = postgres.start()
    for name, value in (("synchronous_commit", "on"), ("fsync", "on"), ("full_page_writes", "on"), ("jit", "off")):
        assert answer(dsn, f"SHOW {name}") == value
    assert answer(dsn, "SHOW listen_addresses") == ""
    assert answer(dsn, "SELECT datlocale FROM pg_database WHERE datname = current_database()") == "C.UTF-8"
    socket_file = folder / "postgres" / ".s.PGSQL.5432"
    assert stat.S_IMODE(socket_file.stat().st_mode) == 0o700
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", 5432), timeout=5).close()
    postgres.stop()


def test_two_at_once_on_one_folder_are_refused(folder: Path) -> None:
    first = OwnPostgres(folder)
    first.start()
    with pytest.raises(OwnPostgresError, match="another process of Myelin uses"):
        OwnPostgres(folder).start()
    with pytest.raises(OwnPostgresError, match="another process of Myelin uses"):
        OwnPostgres(folder).stop()
    first.stop()


def test_one_that_a_killed_server_left_running_is_taken_over(folder: Path) -> None:
    left_running(folder)
    postgres = OwnPostgres(folder)
    before = postgres.running()
    assert before is not None
    dsn = postgres.start()
    assert answer(dsn, "SELECT 1") == 1
    assert postgres.running() == before
    assert postgres.stop()
    assert not is_alive(before.process_id)


def test_one_left_running_with_other_settings_is_restarted(folder: Path) -> None:
    left_running(folder)
    postgres = OwnPostgres(folder)
    before = postgres.running()
    assert before is not None
    (folder / "postgres" / "postgresql.conf").write_text("# of an older version\n")
    assert answer(postgres.start(), "SHOW jit") == "off"
    after = postgres.running()
    assert after is not None
    assert after.process_id != before.process_id
    postgres.stop()


def test_after_a_killed_database_the_next_start_recovers_what_was_committed(folder: Path) -> None:
    left_running(folder)
    postgres = OwnPostgres(folder)
    running = postgres.running()
    assert running is not None
    dsn = postgres.start()
    tell(dsn, "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('here')")
    os.kill(running.process_id, signal.SIGKILL)
    until(lambda: not is_alive(running.process_id), "it is gone")
    assert not postgres.stop()
    assert answer(postgres.start(), "SELECT word FROM kept") == "here"
    postgres.stop()


def test_a_start_while_it_runs_changes_nothing_and_after_it_was_killed_starts_it_anew(folder: Path) -> None:
    postgres = OwnPostgres(folder)
    dsn = postgres.start()
    before = postgres.running()
    assert before is not None
    assert postgres.start() == dsn
    assert postgres.running() == before
    os.kill(before.process_id, signal.SIGKILL)
    until(lambda: not is_alive(before.process_id), "it is gone")
    assert answer(postgres.start(), "SELECT 1") == 1
    assert postgres.stop()


def test_a_stale_pid_file_that_names_a_living_stranger_is_cleared(folder: Path) -> None:
    postgres = OwnPostgres(folder)
    postgres.start()
    pid_file = folder / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    postgres.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert postgres.running() is None
    assert answer(postgres.start(), "SELECT 1") == 1
    postgres.stop()


def test_an_interrupted_first_start_is_begun_anew(folder: Path) -> None:
    (folder / "postgres.new" / "base").mkdir(parents=True)
    (folder / "postgres.new" / "PG_VERSION").write_text("18\n")
    postgres = OwnPostgres(folder)
    assert answer(postgres.start(), "SELECT 1") == 1
    assert not (folder / "postgres.new").exists()
    postgres.stop()


def test_a_folder_that_is_something_else_is_left_alone(folder: Path) -> None:
    (folder / "postgres").mkdir(parents=True)
    (folder / "postgres" / "diary.txt").write_text("dear diary")
    with pytest.raises(OwnPostgresError, match="is no PostgreSQL data folder"):
        OwnPostgres(folder).start()
    assert (folder / "postgres" / "diary.txt").read_text() == "dear diary"


def test_data_of_another_version_is_refused_with_what_to_do(folder: Path) -> None:
    postgres = OwnPostgres(folder)
    postgres.start()
    postgres.stop()
    (folder / "postgres" / "PG_VERSION").write_text("14\n")
    with pytest.raises(OwnPostgresError, match="was made by PostgreSQL 14.*pg_upgrade"):
        postgres.start()


def test_settings_of_the_admin_win_and_a_bad_one_is_told(folder: Path) -> None:
    postgres = OwnPostgres(folder)
    postgres.start()
    postgres.stop()
    admins = folder / "postgres" / "admin.conf"
    admins.write_text("work_mem = 11MB\n")
    assert answer(postgres.start(), "SHOW work_mem") == "11MB"
    postgres.stop()
    admins.write_text("work_mem = plenty\n")
    with pytest.raises(OwnPostgresError, match=r"did not start: .*postgres\.log"):
        postgres.start()
    admins.write_text("")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as another user")
def test_root_runs_it_as_another_user_who_may_pass_through_closed_folders_but_not_look_into_them() -> None:
    closed = Path(tempfile.mkdtemp(prefix="closed-"))
    folder = closed / "a" / "data"
    (closed / "a").mkdir(mode=0o700)
    (closed / "secret.txt").write_text("nobody's business")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    try:
        postgres = OwnPostgres(folder)
        assert answer(postgres.start(), "SELECT 1") == 1
        running = postgres.running()
        assert running is not None
        owner = os.stat(f"/proc/{running.process_id}").st_uid
        assert owner != 0
        assert (folder / "postgres").stat().st_uid == owner
        looked = subprocess.run(["ls", str(closed)], user=owner, extra_groups=[], capture_output=True, check=False)
        assert looked.returncode != 0
        assert stat.S_IMODE(closed.stat().st_mode) & 0o005 == 0 or not hasattr(os, "setxattr")
        postgres.stop()
    finally:
        shutil.rmtree(closed)
