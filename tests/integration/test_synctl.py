"""./synctl as admins use it: real servers in folders of their own."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from config.load import load
from homeserver import __version__
from tests.integration.admin import ROOT, Admin, free_port, hired, is_alive, place_of_its_own, until


@pytest.fixture
def place() -> Iterator[Path]:
    with place_of_its_own() as made:
        yield made


@pytest.fixture
def admin(place: Path) -> Iterator[Admin]:
    with hired(place / "data") as made:
        yield made


def test_start_in_an_empty_folder_makes_all_that_is_needed_and_returns_when_the_server_answers(admin: Admin) -> None:
    started = admin.says("start", environment={"MYELIN_LISTENERS": f"[{{port: {admin.port}}}]"})
    assert started.code == 0, started.err
    assert admin.answers() == 200
    assert admin.url in started.out
    assert "register-user NAME --admin" in started.out
    written = yaml.safe_load((admin.folder / "myelin.yaml").read_text())
    assert written["server_name"] == "localhost"
    assert [entry["port"] for entry in written["listeners"]] == [8008, 8448, 9090]
    for secret in ("signing.key", "admin.secret", "myelin.yaml", "myelin.log"):
        assert (admin.folder / secret).stat().st_mode & 0o077 == 0, secret


def test_a_server_is_started_asked_started_again_in_vain_restarted_and_stopped(admin: Admin) -> None:
    assert admin.inits().code == 0
    assert admin.says("start").code == 0
    first, postgres = admin.process_id(), admin.postgres_id()

    status = admin.says("status")
    assert status.code == 0, status.err
    for expected in (__version__, admin.url, str(first), str(postgres), "own PostgreSQL", "uptime"):
        assert expected in status.out

    second = admin.says("start")
    assert second.code == 1
    assert f"already runs in {admin.folder} (process {first})" in second.err
    assert admin.answers() == 200

    restarted = admin.says("restart")
    assert restarted.code == 0, restarted.err
    assert admin.process_id() != first
    assert admin.answers() == 200

    stopped = admin.says("stop")
    assert stopped.code == 0, stopped.err
    assert admin.answers() is None
    assert not (admin.folder / "myelin.pid").exists()
    assert not (admin.folder / "postgres" / "postmaster.pid").exists()

    status = admin.says("status")
    assert status.code == 1
    assert "does not run" in status.err
    assert admin.says("stop").code == 0


def test_an_account_is_made_on_the_running_server_once(admin: Admin) -> None:
    assert admin.inits(server_name="example.org").code == 0
    assert admin.says("start").code == 0
    made = admin.says("register-user", "alice", "--admin", "--password-stdin", stdin="correct horse\n")
    assert made.code == 0, made.err
    assert "@alice:example.org" in made.out
    again = admin.says("register-user", "alice", "--password-stdin", stdin="correct horse\n")
    assert again.code == 1
    assert "refused" in again.err


def test_an_account_needs_a_running_server_and_a_password(admin: Admin) -> None:
    assert admin.inits().code == 0
    stopped = admin.says("register-user", "alice", "--password-stdin", stdin="secret\n")
    assert stopped.code == 1
    assert "does not run" in stopped.err
    assert admin.says("start").code == 0
    assert admin.says("register-user", "alice").code == 2
    assert admin.says("register-user", "alice", "--password-stdin", stdin="\n").code == 1
    assert admin.says("register-user", "@alice:elsewhere.example", "--password-stdin", stdin="x\n").code == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_in_the_foreground_stops_on_a_signal_and_stops_its_database(
    admin: Admin, number: signal.Signals
) -> None:
    assert admin.inits().code == 0
    server = admin.foreground()
    until(lambda: admin.answers() == 200, "the server answers")
    postgres = admin.postgres_id()
    server.send_signal(number)
    assert server.wait(30) == 0
    assert not is_alive(postgres)
    assert not (admin.folder / "myelin.pid").exists()


def test_a_second_server_in_the_foreground_is_refused(admin: Admin) -> None:
    assert admin.inits().code == 0
    server = admin.foreground()
    until(lambda: admin.answers() == 200, "the server answers")
    second = admin.foreground("--set", f"listeners.0.port={free_port()}")
    _, said = second.communicate(timeout=30)
    assert second.returncode == 1
    assert f"already runs in {admin.folder} (process {server.pid})" in said
    server.terminate()
    assert server.wait(30) == 0


def test_after_a_killed_server_the_next_one_takes_over_its_database(admin: Admin) -> None:
    assert admin.inits().code == 0
    assert admin.says("start").code == 0
    killed, postgres = admin.process_id(), admin.postgres_id()
    os.kill(killed, signal.SIGKILL)
    until(lambda: not is_alive(killed), "the server is gone")
    assert is_alive(postgres)
    assert admin.says("status").code == 1
    again = admin.says("start")
    assert again.code == 0, again.err
    assert admin.answers() == 200
    assert admin.postgres_id() == postgres
    assert admin.says("stop").code == 0
    assert not is_alive(postgres)


def test_stop_after_a_killed_server_stops_the_database_that_it_left_behind(admin: Admin) -> None:
    assert admin.inits().code == 0
    assert admin.says("start").code == 0
    postgres = admin.postgres_id()
    os.kill(admin.process_id(), signal.SIGKILL)
    until(lambda: admin.answers() is None, "the server is gone")
    stopped = admin.says("stop")
    assert stopped.code == 0
    assert "PostgreSQL that it left behind" in stopped.out
    assert not is_alive(postgres)


def test_a_stale_pid_file_of_a_living_process_does_not_count_as_a_server(admin: Admin) -> None:
    assert admin.inits().code == 0
    (admin.folder / "myelin.pid").write_text(f"{os.getpid()}\n")
    assert admin.says("status").code == 1
    assert admin.says("stop").code == 0
    assert admin.says("start").code == 0
    assert admin.answers() == 200


def test_a_taken_port_is_told_before_anything_starts(admin: Admin) -> None:
    assert admin.inits().code == 0
    with socket.create_server(("127.0.0.1", admin.port)):
        started = admin.says("start")
    assert started.code == 1
    assert f"cannot listen on 127.0.0.1 port {admin.port}" in started.err
    assert not (admin.folder / "postgres").exists()


def test_a_deep_folder_starts_with_its_socket_elsewhere_and_leaves_nothing_there(place: Path) -> None:
    with hired(place / ("deep" * 40) / "data") as admin:
        assert admin.inits().code == 0
        started = admin.says("start")
        assert started.code == 0, started.err
        assert admin.answers() == 200
        socket_folder = (admin.folder / "postgres" / "postmaster.pid").read_text().splitlines()[4]
        assert Path(socket_folder).parent == Path("/tmp")
        assert Path(socket_folder).stat().st_mode & 0o077 == 0
        assert admin.says("stop").code == 0
        assert not Path(socket_folder).exists()


def test_init_writes_config_keys_and_certificate_and_never_overwrites(admin: Admin) -> None:
    made = admin.says("init", "--server-name", "example.org", "--set", "rooms.default_version=11")
    assert made.code == 0, made.err
    config = (admin.folder / "myelin.yaml").read_text()
    settings = load(admin.folder / "myelin.yaml", environment={})
    assert settings.server_name == "example.org"
    assert settings.rooms.default_version == "11"
    assert "signing_key: signing.key" in config
    kind, key_id, seed = (admin.folder / "signing.key").read_text().split()
    assert (kind, len(seed)) == ("ed25519", 43)
    assert key_id
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(admin.folder / "tls.crt", admin.folder / "tls.key")

    files = {file: file.read_bytes() for file in admin.folder.iterdir() if file.is_file()}
    again = admin.says("init", "--server-name", "other.example")
    assert again.code == 1
    assert "not overwritten" in again.err
    assert {file: file.read_bytes() for file in admin.folder.iterdir() if file.is_file()} == files


def test_init_keeps_keys_that_are_there(admin: Admin) -> None:
    admin.folder.mkdir()
    (admin.folder / "signing.key").write_text("ed25519 mine AAAA\n")
    assert admin.inits().code == 0
    assert (admin.folder / "signing.key").read_text() == "ed25519 mine AAAA\n"


def test_init_refuses_what_the_config_would_not_take_and_writes_nothing(admin: Admin) -> None:
    for words in (["--set", "media.max_upload=much"], ["--set", "a.b=1"], ["--set", "nonsense"]):
        refused = admin.says("init", "--server-name", "example.org", *words)
        assert refused.code == 1, words
        assert not admin.folder.exists()
    assert admin.says("init", "--server-name", "Not A Name").code == 1
    assert admin.says("init").code == 2


def test_config_check_names_each_mistake_with_its_line(admin: Admin) -> None:
    assert admin.inits().code == 0
    good = admin.says("config", "check")
    assert (good.code, "is in order" in good.out) == (0, True)
    config = admin.folder / "myelin.yaml"
    lines = len(config.read_text().splitlines())
    config.write_text(config.read_text() + "colour: red\nlog: {level: loud}\n")
    bad = admin.says("config", "check")
    assert bad.code == 1
    assert f"{config}:{lines + 1}: colour: there is no such key" in bad.err
    assert f"{config}:{lines + 2}: log: stands here twice" in bad.err
    started = admin.says("start")
    assert started.code == 1
    assert f"{config}:{lines + 1}: colour" in started.err


def test_config_check_finds_files_that_are_not_there(admin: Admin) -> None:
    assert admin.inits("--set", "appservices=[bridge.yaml]", "--set", "federation.ca_file=ca.pem").code == 0
    checked = admin.says("config", "check")
    assert checked.code == 1
    assert f"appservices.0: there is no file {admin.folder / 'bridge.yaml'}" in checked.err
    assert "federation.ca_file" in checked.err


def test_a_config_that_is_garbage_stops_a_start_and_is_left_as_it_is(admin: Admin) -> None:
    admin.folder.mkdir()
    (admin.folder / "myelin.yaml").write_bytes(b"\x00\x01 not yaml [")
    started = admin.says("start")
    assert started.code == 1
    assert "not YAML" in started.err
    assert (admin.folder / "myelin.yaml").read_bytes() == b"\x00\x01 not yaml ["


def test_restart_with_a_bad_config_leaves_the_server_running(admin: Admin) -> None:
    assert admin.inits().code == 0
    assert admin.says("start").code == 0
    running = admin.process_id()
    with (admin.folder / "myelin.yaml").open("a") as config:
        config.write("colour: red\n")
    assert admin.says("restart").code == 1
    assert admin.answers() == 200
    assert admin.process_id() == running


def test_another_config_file_has_its_folder_as_data_folder(place: Path) -> None:
    with hired(place / "elsewhere") as admin:
        assert admin.inits().code == 0
        config = admin.folder / "myelin.yaml"
        checked = admin.says("config", "check", "--config", str(config), data=False)
        assert checked.code == 0, checked.err
        missing = admin.says("start", "--config", str(place / "missing.yaml"), data=False)
        assert missing.code == 1
        assert "there is no such file" in missing.err


def test_what_makes_no_sense_is_answered_with_the_usage_and_two(admin: Admin) -> None:
    for words in (["frobnicate"], ["start", "--quickly"], ["config"], ["register-user"], []):
        asked = admin.says(*words, data=False)
        assert asked.code == 2, words
        assert "usage: synctl" in asked.err


def test_test_passes_its_words_on_to_pytest(admin: Admin) -> None:
    listed = admin.says(
        "test", "--collect-only", "-q", "tests/unit/config/test_sample.py", "-k", "every_key", data=False
    )
    assert listed.code == 0, listed.err
    assert "test_the_sample_names_every_key" in listed.out
    nothing = admin.says("test", "-q", "tests/unit/config/test_sample.py", "-k", "no_such_test", data=False)
    assert nothing.code == 5


def test_a_certificate_is_made_where_a_listener_names_files_that_are_not_there(admin: Admin) -> None:
    federation = free_port()
    tls_pair = "{certificate: a.crt, private_key: a.key}"
    listeners = f"[{{port: {admin.port}}}, {{port: {federation}, serves: [federation], tls: {tls_pair}}}]"
    assert admin.says("init", "--server-name", "localhost", "--set", f"listeners={listeners}").code == 0
    assert admin.says("start").code == 0
    context = ssl.create_default_context(cafile=str(admin.folder / "a.crt"))
    with (
        socket.create_connection(("127.0.0.1", federation), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        assert tls.version() in ("TLSv1.2", "TLSv1.3")


def test_the_foreground_server_needs_nothing_but_a_config(place: Path) -> None:
    with hired(place / "data") as admin:
        admin.folder.mkdir()
        (admin.folder / "myelin.yaml").write_text(f"listeners: [{{port: {admin.port}}}]\nlog: {{format: json}}\n")
        server = admin.foreground()
        until(lambda: admin.answers() == 200, "the server answers")
        assert admin.answers("/_matrix/client/versions") == 200
        server.terminate()
        _, said = server.communicate(timeout=30)
        assert server.returncode == 0
        assert '"made a file that was missing"' in said


def test_synctl_runs_from_a_folder_that_has_a_config_package_of_its_own(admin: Admin, place: Path) -> None:
    (place / "config").mkdir()
    (place / "config" / "__init__.py").write_text("raise SystemExit('not ours')\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "synctl"), "config", "sample"],
        cwd=place,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "server_name: localhost" in done.stdout


def test_a_stop_in_the_middle_of_the_start_leaves_no_database_running(admin: Admin) -> None:
    assert admin.inits().code == 0
    server = admin.foreground()
    pid_file = admin.folder / "postgres" / "postmaster.pid"
    until(pid_file.exists, "the database starts")
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0
    assert not pid_file.exists()
    assert not (admin.folder / "myelin.pid").exists()


def test_a_log_that_was_moved_away_is_begun_anew_on_sighup(admin: Admin) -> None:
    assert admin.inits().code == 0
    assert admin.says("start").code == 0
    log = admin.folder / "myelin.log"
    log.rename(admin.folder / "myelin.log.1")
    os.kill(admin.process_id(), signal.SIGHUP)
    until(log.exists, "there is a new log")
    assert admin.answers() == 200


def test_a_server_whose_terminal_is_closed_stops(admin: Admin) -> None:
    assert admin.inits().code == 0
    server = admin.foreground()
    until(lambda: admin.answers() == 200, "the server answers")
    postgres = admin.postgres_id()
    server.send_signal(signal.SIGHUP)
    assert server.wait(30) == 0
    assert not is_alive(postgres)
