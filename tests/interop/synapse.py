"""Synapse of PyPI as the other side of a federation: in an environment of its own, with SQLite, reached over TLS.

The environment is the one that the benchmark uses. Both servers are reached through a `Link`, which tests can cut.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.authority import HOST
from bench.servers import SYNAPSE_VERSION, install_synapse, synapse_python
from tests.cast import Actor, Cast, Device
from tests.federated import Federated, TestAuthority
from tests.integration.admin import free_port
from tests.servers import SHARED_SECRET, Homeserver
from tests.wire import Json

START_S: Final = 90.0
STOP_S: Final = 30.0
UNLIMITED: Final = {"per_second": 1_000_000, "burst_count": 1_000_000}
TAKES_BYTES: Final = 65_536


class NotInstalled(Exception):
    """There is no Synapse, and none could be installed."""


def install() -> None:
    """Make the environment that holds Synapse, unless it is there. Several test processes may ask at once."""
    folder = synapse_python().parents[2]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            install_synapse()
        except subprocess.CalledProcessError as error:
            raise NotInstalled(f"Synapse {SYNAPSE_VERSION} could not be installed: {error}") from None


class Link:
    """The way on which a server is reached by others: what arrives at `port` goes on to `target`, unless it is cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._is_cut = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections; new ones are closed at once."""
        with self._lock:
            self._is_cut = True
            for connection in self._open:
                _hang_up(connection)

    def mend(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._is_cut = False

    def close(self) -> None:
        """End it for good."""
        self.cut()
        _hang_up(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                try:
                    far = None if self._is_cut else socket.create_connection((HOST, self._target))
                except OSError:
                    far = None
                if far is None:
                    near.close()
                    continue
                self._open |= {near, far}
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(TAKES_BYTES):
                target.sendall(data)
        except OSError:
            pass  # one of the two is gone, which ends the other, too
        with self._lock:
            for connection in (source, target):
                _hang_up(connection)
            self._open.discard(source)
        source.close()


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may have ended already
        connection.shutdown(socket.SHUT_RDWR)


class Synapse(Homeserver):
    """Synapse as a child process. Its name is that of a link that leads to it."""

    def __init__(self, authority: TestAuthority) -> None:
        port, federation_port = free_port(), free_port()
        self.link = Link(federation_port)
        super().__init__(f"http://{HOST}:{port}", f"{HOST}:{self.link.port}", SHARED_SECRET)
        self.folder = Path(tempfile.mkdtemp(prefix="myelin-synapse-"))
        self._process: subprocess.Popen[bytes] | None = None
        key = base64.b64encode(os.urandom(32)).decode().rstrip("=")
        (self.folder / "signing.key").write_text(f"ed25519 a_test {key}\n")
        (self.folder / "log.yaml").write_text(
            json.dumps(
                {
                    "version": 1,
                    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
                    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
                    "root": {"level": "WARNING", "handlers": ["console"]},
                }
            )
        )
        config = self._config(port, federation_port, authority)
        (self.folder / "homeserver.yaml").write_text(json.dumps(config, indent=1))

    def cast(self, name: str, devices: Sequence[str] = ("device",)) -> Actor:
        """Someone on this server whom no other test knows."""
        return Cast(self)(name, devices)

    def start(self) -> None:
        """Start, or start again, and wait until it answers."""
        command = [str(synapse_python()), "-m", "synapse.app.homeserver", "-c", str(self.folder / "homeserver.yaml")]
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=self.folder, start_new_session=True
            )
        deadline_s = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"Synapse did not start:\n{self.output()[-4000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it in order, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.wire.close()

    def remove(self) -> None:
        """End it at once and delete its folder."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.wire.close()
        self.link.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def output(self) -> str:
        """What it has logged."""
        return (self.folder / "output").read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            return self.wire.ask("GET", "/_matrix/client/versions", timeout_s=20).status == 200
        except OSError:
            return False

    def _config(self, port: int, federation_port: int, authority: TestAuthority) -> dict[str, Json]:
        listener: Json = {"bind_addresses": [HOST], "type": "http"}
        return {
            "server_name": self.server_name,
            "public_baseurl": self.url + "/",
            "pid_file": str(self.folder / "pid"),
            "listeners": [
                {**listener, "port": port, "resources": [{"names": ["client", "media"]}]},
                {**listener, "port": federation_port, "tls": True, "resources": [{"names": ["federation", "media"]}]},
            ],
            "tls_certificate_path": authority.tls["certificate"],
            "tls_private_key_path": authority.tls["private_key"],
            "federation_custom_ca_list": [str(authority.file)],
            "ip_range_blacklist": [],
            "database": {"name": "sqlite3", "args": {"database": str(self.folder / "homeserver.db")}},
            "log_config": str(self.folder / "log.yaml"),
            "media_store_path": str(self.folder / "media"),
            "signing_key_path": str(self.folder / "signing.key"),
            "registration_shared_secret": SHARED_SECRET,
            "macaroon_secret_key": SHARED_SECRET,
            "form_secret": SHARED_SECRET,
            "report_stats": False,
            "suppress_key_server_warning": True,
            "trusted_key_servers": [],
            "bcrypt_rounds": 4,
            "default_room_version": "12",
            "allow_public_rooms_over_federation": True,
            "room_list_publication_rules": [{"action": "allow"}],
            # A link that was cut is tried again soon.
            "federation": {
                "client_timeout": "20s",
                "max_short_retries": 1,
                "max_short_retry_delay": 100,
                "max_long_retries": 1,
                "max_long_retry_delay": 200,
                "destination_min_retry_interval": 100,
                "destination_max_retry_interval": "1s",
            },
            "federation_rr_transactions_per_room_per_second": 1_000,
            "rc_federation": {"window_size": 10, "sleep_limit": 100_000, "reject_limit": 100_000, "concurrent": 50},
            "rc_message": UNLIMITED,
            "rc_registration": UNLIMITED,
            "rc_login": {"address": UNLIMITED, "account": UNLIMITED, "failed_attempts": UNLIMITED},
            "rc_joins": {"local": UNLIMITED, "remote": UNLIMITED},
            "rc_joins_per_room": UNLIMITED,
            "rc_invites": {"per_room": UNLIMITED, "per_user": UNLIMITED, "per_issuer": UNLIMITED},
            "rc_room_creation": UNLIMITED,
            "rc_presence": {"per_user": UNLIMITED},
        }


class LinkedMyelin(Federated):
    """Our server, whose name is that of a link that leads to it."""

    def __init__(self, dsn: str, authority: TestAuthority) -> None:
        federation_port = free_port()
        self.link = Link(federation_port)
        super().__init__(dsn, authority, federation_port=federation_port, known_at=self.link.port)

    def remove(self) -> None:
        """Stop it, if it runs, and delete its folder."""
        super().remove()
        self.link.close()


class Both(NamedTuple):
    """The two servers of a test."""

    ours: LinkedMyelin
    synapse: Synapse

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Meanwhile neither reaches the other, nor does anybody else."""
        with self.cut_off(self.ours), self.cut_off(self.synapse):
            yield

    @contextlib.contextmanager
    def cut_off(self, server: LinkedMyelin | Synapse) -> Iterator[None]:
        """Meanwhile nobody reaches a server."""
        server.link.cut()
        try:
            yield
        finally:
            server.link.mend()


class Sides(NamedTuple):
    """The server that a room is made on, and the one whose users come to it."""

    here: LinkedMyelin | Synapse
    there: LinkedMyelin | Synapse


def agree(romeo: Device, juliet: Device, room: str) -> None:
    """Both say something, then their servers must tell the same state of a room."""
    since, before = juliet.sync(), romeo.sync()
    said = romeo.says(room, "is all as it was?")
    juliet.syncs_until(since, lambda seen: said in seen.timeline(room))
    answered = juliet.says(room, "it is")
    romeo.syncs_until(before, lambda seen: answered in seen.timeline(room))
    assert described(romeo, room) == described(juliet, room)


def described(who: Device, room: str) -> dict[str, str]:
    """The state of a room as someone sees it: each part and the event that it is."""
    return {f"{event['type']} {event['state_key']}": event["event_id"] for event in who.whole_state(room)}
