"""Starting, stopping and killing the servers under test, each with a PostgreSQL of its own.

Both are set up alike: one process, no federation, no presence, no rate limits, warnings only in the log, room version
12, and the cheapest password hashing while accounts are made. The scenario `login` restarts them with their default.
"""

import base64
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

from bench.measure import Meter, descendants, memory_bytes
from bench.postgres import Postgres, free_port
from bench.wire import Address

REPOSITORY = Path(__file__).resolve().parent.parent
SYNAPSE_VERSION = "1.163.2"
SHARED_SECRET = "a secret for the benchmark"
START_SECONDS = 120
STOP_SECONDS = 40


class Server(ABC):
    """A homeserver as a child process."""

    name: str
    # Whether it speaks org.myelin.stream, the WebSocket way of /sync.
    has_stream = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = Address("127.0.0.1", free_port())
        self.postgres = Postgres(folder.with_name(folder.name + "-postgres"))
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What starts the server in the foreground."""

    @abstractmethod
    def write_config(self, default_passwords: bool) -> None:
        """Write its config; with its default password hashing, or the cheapest that it takes."""

    def adapt(self, config: dict[str, object]) -> dict[str, object]:
        """The config of this server, where it differs from the usual one."""
        return config

    def create(self) -> None:
        """Make its database and its config, and start it."""
        self.folder.mkdir(parents=True)
        self.postgres.create()
        self.write_config(default_passwords=False)
        self.start()

    def start(self) -> float:
        """Start the server; returns how many seconds passed until it answered a request."""
        begin = time.perf_counter()
        with (self.folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=REPOSITORY, start_new_session=True
            )
        while time.perf_counter() - begin < START_SECONDS:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self._process.returncode}:\n{self._last_words()}")
            if self._answers():
                return time.perf_counter() - begin
            time.sleep(0.01)
        raise RuntimeError(f"{self.name} did not answer within {START_SECONDS} s:\n{self._last_words()}")

    def stop(self) -> None:
        """Stop the server cleanly, if it runs."""
        if self.is_running:
            assert self._process is not None
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def restart(self, default_passwords: bool = False) -> float:
        """Stop and start again; returns the seconds until it answered."""
        self.stop()
        self.write_config(default_passwords)
        return self.start()

    def kill(self) -> None:
        """End every process of the server at once, with no chance to tidy up."""
        assert self._process is not None
        for pid in descendants(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def destroy(self) -> None:
        """Stop the server and its database, those that run."""
        self.stop()
        self.postgres.stop()

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the server."""
        assert self._process is not None, "the server is not started"
        return self._process.pid

    def meter(self) -> Meter:
        """A meter of what server and database use from now on."""
        return Meter(self.pid, self.postgres.pid)

    def memory_bytes(self) -> int:
        """Memory that the server holds, its database not counted."""
        return memory_bytes(self.pid)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.address.host, self.address.port, timeout=5)
        try:
            connection.request("GET", "/_matrix/client/versions")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _last_words(self) -> str:
        return "\n".join((self.folder / "output.log").read_text(errors="replace").splitlines()[-30:])


class Myelin(Server):
    """This homeserver, out of this checkout."""

    name = "myelin"
    has_stream = True

    def command(self) -> list[str]:
        return [sys.executable, "-m", "homeserver", "--config", str(self.folder / "myelin.yaml")]

    def write_config(self, default_passwords: bool) -> None:
        config: dict[str, object] = {
            "server_name": "bench.localhost",
            "public_baseurl": f"http://{self.address.host}:{self.address.port}/",
            "listeners": [{"bind": self.address.host, "port": self.address.port, "serves": ["client", "admin"]}],
            "database": {"url": self.postgres.url},
            "registration": {"shared_secret": SHARED_SECRET},
            "rooms": {"default_version": "12"},
            "rate_limits": {"enabled": False},
            "federation": {"enabled": False},
            "presence": {"enabled": False},
            "log": {"level": "warning"},
        }
        if not default_passwords:
            config["passwords"] = {"memory": "1M", "iterations": 1, "parallelism": 1}
        config = self.adapt(config)
        (self.folder / "myelin.yaml").write_text(json.dumps(config, indent=1))


class Synapse(Server):
    """Synapse of PyPI, in a virtual environment of its own that is kept in the user's cache folder."""

    name = "synapse"

    def command(self) -> list[str]:
        return [str(synapse_python()), "-m", "synapse.app.homeserver", "-c", str(self.folder / "homeserver.yaml")]

    def write_config(self, default_passwords: bool) -> None:
        unlimited = {"per_second": 1_000_000, "burst_count": 1_000_000}
        config: dict[str, object] = {
            "server_name": "bench.localhost",
            "pid_file": str(self.folder / "pid"),
            "listeners": [
                {
                    "port": self.address.port,
                    "bind_addresses": [self.address.host],
                    "type": "http",
                    "resources": [{"names": ["client"]}],
                }
            ],
            "database": {
                "name": "psycopg2",
                "args": {
                    "user": self.postgres.user,
                    "dbname": self.postgres.database,
                    "host": "127.0.0.1",
                    "port": self.postgres.port,
                    "cp_min": 5,
                    "cp_max": 10,
                },
            },
            "log_config": str(self.folder / "log.yaml"),
            "media_store_path": str(self.folder / "media"),
            "signing_key_path": str(self.folder / "signing.key"),
            "registration_shared_secret": SHARED_SECRET,
            "macaroon_secret_key": SHARED_SECRET,
            "form_secret": SHARED_SECRET,
            "report_stats": False,
            "suppress_key_server_warning": True,
            "trusted_key_servers": [],
            "federation_domain_whitelist": [],
            "default_room_version": "12",
            "presence": {"enabled": False},
            "rc_message": unlimited,
            "rc_registration": unlimited,
            "rc_login": {"address": unlimited, "account": unlimited, "failed_attempts": unlimited},
            "rc_joins": {"local": unlimited, "remote": unlimited},
            "rc_joins_per_room": unlimited,
            "rc_invites": {"per_room": unlimited, "per_user": unlimited, "per_issuer": unlimited},
            "rc_room_creation": unlimited,
        }
        if not default_passwords:
            config["bcrypt_rounds"] = 4
        config = self.adapt(config)
        (self.folder / "homeserver.yaml").write_text(json.dumps(config, indent=1))
        (self.folder / "log.yaml").write_text(json.dumps({"version": 1, "root": {"level": "WARNING"}}))
        key = self.folder / "signing.key"
        if not key.exists():
            key.write_text(f"ed25519 a_bench {base64.b64encode(os.urandom(32)).decode().rstrip('=')}\n")


SERVERS: dict[str, type[Server]] = {"myelin": Myelin, "synapse": Synapse}


def synapse_python() -> Path:
    """The Python of the environment that holds Synapse."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "myelin-bench" / f"synapse-{SYNAPSE_VERSION}" / "bin" / "python"


def install_synapse() -> None:
    """Make the environment that holds Synapse, unless it is there."""
    python = synapse_python()
    environment = python.parent.parent
    if (environment / "complete").exists():
        return
    print(f"installing Synapse {SYNAPSE_VERSION} into {environment}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
    packages = [f"matrix-synapse=={SYNAPSE_VERSION}", "psycopg2-binary"]
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    (environment / "complete").touch()
