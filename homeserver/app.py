"""The composition root: makes every part in order, opens the listeners, runs until stopped."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import structlog
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from client_api.doors import all_doors
from config.settings import Settings
from federation.inbound.authenticate import SignedRequests
from federation.inbound.doors import federation_doors
from homeserver.encryption.over_federation import FederatedKeys
from homeserver.encryption.remote import NoRemoteKeys
from homeserver.encryption.remote_lists import RESYNC_EVERY_S
from homeserver.parts.accounting import Accounting, make_accounting
from homeserver.parts.encryption import make_encryption
from homeserver.parts.federation import Federating, connect_presence, make_answering, make_federating
from homeserver.parts.foundations import Foundations, lay_foundations
from homeserver.parts.room_core import make_room_core
from homeserver.parts.room_services import make_room_services
from homeserver.parts.syncing import make_syncing
from homeserver.parts.transport import make_transport
from homeserver.rooms.backfill import NoOlderHistory
from homeserver.rooms.elsewhere import Nowhere
from homeserver.rooms.policy_servers import NoPolicyServers
from homeserver.runtime.large_pages import use_large_pages
from homeserver.runtime.log import AppendFailed
from homeserver.runtime.reactor import install as install_reactor
from homeserver.runtime.stopping import Stopping
from homeserver.sync.account_data_part import AccountDataPart
from homeserver.sync.stream_requests import EXPIRY_STEP_S
from homeserver.users.presence import Presence
from homeserver.users.remote_profiles import FederatedProfiles
from homeserver.users.rooms_of_user import RoomsOfUser
from homeserver.users.sightings import FLUSH_EVERY_S
from homeserver.web.access import AccessControl
from homeserver.web.limits import Limiter
from homeserver.web.listen import ListenFailed
from homeserver.web.server import HttpServer
from storage.database import CommitUnknown, DatabaseUnavailable
from storage.migrate import UnusableDatabase
from storage.own_postgres import OwnPostgres, OwnPostgresError

# A stop takes 30 s at most (service managers kill then): these, one after the other, and PostgreSQL's own.
GRACE_S: Final = 5.0
"""How long requests may take to finish after the server was told to stop."""
TASKS_S: Final = 2.0
COMMIT_S: Final = 6.0
SAVE_S: Final = 2.0
CLOSE_S: Final = 1.0
POSTGRES_STOP_S: Final = 15.0
"""How long the own PostgreSQL may take to write all down, where the steps before took little."""
POSTGRES_STOPPED_AFTER_S: Final = 23.0
"""When it is told to give up instead, counted from the beginning of the stop: that takes some seconds, too."""

log: Final = structlog.get_logger("homeserver")


class Server:
    """A running server."""

    def __init__(self, settings: Settings, folder: Path, reactor: Any) -> None:
        self._settings = settings
        self._folder = folder
        self._reactor = reactor
        self._base: Foundations | None = None
        self._users: Accounting | None = None
        self._federating: Federating | None = None
        self._http: HttpServer | None = None
        self._presence: Presence | None = None
        self._stopping_since_s: float | None = None

    async def start(self, dsn: str) -> None:
        """Make the parts and open the listeners. Raises UnusableDatabase, DatabaseUnavailable or ListenFailed."""
        base = self._base = await lay_foundations(self._settings, self._folder, dsn, self._reactor)
        limiter = Limiter(base.clock, enabled=self._settings.rate_limits.enabled)
        transport = make_transport(base) if self._settings.federation.enabled else None
        rooms = make_room_core(base, NoPolicyServers() if transport is None else transport.policies)
        remote_profiles = None if transport is None else FederatedProfiles(transport.queries)
        users = self._users = make_accounting(base, limiter, remote_profiles)
        account_data = AccountDataPart(base.database, base.ring, users.push_rules)
        federating = None if transport is None else make_federating(base, rooms, transport)
        elsewhere = Nowhere() if federating is None else federating.elsewhere
        older = NoOlderHistory() if federating is None else federating.backfill
        queries = None if transport is None else transport.queries
        services = make_room_services(base, rooms, users, account_data, elsewhere, older, queries)
        remote_keys = NoRemoteKeys() if transport is None else FederatedKeys(transport.queries, base.clock)
        encryption = make_encryption(base, users, remote_keys)
        await encryption.remote_lists.start()
        syncing = make_syncing(base, rooms, users, services, account_data, encryption.key_counts, limiter)
        users.passwords.start()
        await users.jobs.start(RoomsOfUser(rooms.memberships, rooms.heads, services.changes).work)
        base.tasks.keep("drop old messages to devices", encryption.to_device_upkeep.run)
        base.tasks.every("read stale device lists anew", RESYNC_EVERY_S, encryption.remote_lists.resync)
        base.tasks.every("note when devices were seen", FLUSH_EVERY_S, users.sightings.flush)
        base.tasks.keep("guests leave where they may not be", services.guest_removal.run)
        users.tokens.on_revoked(syncing.conversations.revoked)
        base.tasks.every("end streams with expired tokens", EXPIRY_STEP_S, syncing.conversations.end_expired)
        self._presence = syncing.presence
        await syncing.presence.start(base.tasks, base.ring)
        doors = list(all_doors(base, rooms, users, services, encryption, syncing))
        verify_server = None
        if federating is not None:
            answering = make_answering(base, rooms, services, encryption, federating)
            doors += federation_doors(base, users, services, federating, answering)
            connect_presence(syncing.presence, federating)
            transport = federating.transport
            verify_server = SignedRequests(base.server_name, transport.ring, transport.destinations)
            await federating.start(base)
            self._federating = federating
        http = HttpServer(
            self._reactor,
            base.clock,
            doors,
            AccessControl(users.tokens, verify_server, sighted=users.sightings.note),
            limiter,
            base.metrics,
            unavailable=(DatabaseUnavailable, CommitUnknown, AppendFailed),
        )
        http.open(self._settings.listeners)
        self._http = http
        # What is there now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        use_large_pages()

    async def stop(self) -> None:
        """Finish what is being done, commit what waits, let go of everything."""
        self._stopping_since_s = time.monotonic()
        if self._http is not None:
            await self._http.stop(GRACE_S)
        if self._base is None:
            return
        base, stopping = self._base, Stopping(self._base.clock)
        await stopping.step("background work", TASKS_S, base.tasks.stop)
        await stopping.step("the log", COMMIT_S, base.writer.stop)
        # From here on only what is better saved than lost, and may be lost: nobody was told that it is there.
        base.database.hurry(SAVE_S)
        saves = [
            Deferred.fromCoroutine(stopping.step(name, SAVE_S + 1, save)) for name, save in self._last_saves().items()
        ]
        for each in saves:
            await each
        if self._users is not None:
            self._users.passwords.stop()
        if self._federating is not None:
            self._federating.transport.stop()
        await stopping.step("the database's connections", CLOSE_S, base.database.stop)

    def stopping_for_s(self) -> float:
        """How long ago the stop began; 0 if it has not."""
        return 0.0 if self._stopping_since_s is None else time.monotonic() - self._stopping_since_s

    def _last_saves(self) -> dict[str, Callable[[], Coroutine[Deferred[Any], Any, None]]]:
        """What is only written now and then, and at the end."""
        saves: dict[str, Callable[[], Coroutine[Deferred[Any], Any, None]]] = {}
        if self._federating is not None:
            saves |= self._federating.last_saves()
        if self._users is not None:
            saves["when devices were seen"] = self._users.sightings.flush
        if self._presence is not None:
            saves["presence"] = self._presence.save
        return saves


def run(settings: Settings, folder: Path, *, foreground_log: bool) -> int:
    """Run the server until SIGTERM or SIGINT; the exit code. `foreground_log`: somebody reads stderr."""
    reactor = install_reactor()
    server = Server(settings, folder, reactor)
    if settings.database.url is not None:
        return _serve(server, settings.database.url, reactor)
    postgres = OwnPostgres(folder)
    try:
        return _serve(server, postgres.start(), reactor)
    except OwnPostgresError as problem:
        return _failed(problem)
    finally:
        postgres.stop(timeout_seconds=min(POSTGRES_STOP_S, POSTGRES_STOPPED_AFTER_S - server.stopping_for_s()))


def _serve(server: Server, dsn: str, reactor: Any) -> int:
    outcome: list[int] = []

    def failed(failure: Failure) -> None:
        problem = failure.value
        if not isinstance(problem, (UnusableDatabase, DatabaseUnavailable, ListenFailed, OSError)):
            log.error("the server cannot start", exc_info=problem)
        outcome.append(_failed(problem))
        reactor.stop()

    def started() -> None:
        Deferred.fromCoroutine(server.start(dsn)).addErrback(failed)

    reactor.callWhenRunning(started)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(server.stop()))
    reactor.run()
    return outcome[0] if outcome else 0


def _failed(problem: BaseException | None) -> int:
    log.error("the server does not run", reason=str(problem))
    print(problem, file=sys.stderr)
    return 1
