"""A server of accounts and what belongs to them alone, for tests of their doors: `python -m … '{"dsn": …}'`."""

from __future__ import annotations

import json
import sys
from typing import Any, cast

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred

from client_api import (
    account,
    account_data,
    devices,
    filters,
    login,
    profile,
    push_rules,
    registration,
    send_to_device,
    shared_secret,
    tags,
    versions,
)
from config.kinds import Bytes
from config.settings import Listener, Passwords, Settings
from config.settings import Registration as RegistrationSettings
from homeserver.core.ids import ServerName
from homeserver.runtime.clock import ReactorClock
from homeserver.runtime.log import Ring, Writer
from homeserver.runtime.logs import LogFile, start_logging
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.tasks import Tasks
from homeserver.users.account_data import AccountData
from homeserver.users.accounts import Accounts
from homeserver.users.capabilities import Capabilities
from homeserver.users.credentials import Credentials
from homeserver.users.devices import Devices
from homeserver.users.filters import Filters
from homeserver.users.jobs import UserJobs
from homeserver.users.login import Login
from homeserver.users.new_accounts import NewAccounts
from homeserver.users.passwords import Passwords as PasswordChecks
from homeserver.users.profiles import Profiles
from homeserver.users.push_rules import PushRules
from homeserver.users.registration import Registration
from homeserver.users.registration_tokens import RegistrationTokens
from homeserver.users.sessions import LIFETIME_MS, Sessions
from homeserver.users.shared_secret import SharedSecretRegistration
from homeserver.users.sightings import Sightings
from homeserver.users.tags import Tags
from homeserver.users.to_device import ToDevice
from homeserver.users.tokens import Tokens
from homeserver.users.uia_sessions import UiaSessions
from homeserver.web.access import AccessControl
from homeserver.web.limits import Limiter
from homeserver.web.plan import BoundEndpoint, bind
from homeserver.web.server import HttpServer
from storage.database import Database, DatabaseUnavailable
from storage.persist import PERSIST

SERVER = ServerName("verona.example")


class UsersSite:
    """The parts, as homeserver.app puts them together."""

    def __init__(self, reactor: Any, options: dict[str, Any]) -> None:
        self.clock = clock = ReactorClock(reactor)
        self.settings = Settings(
            server_name=SERVER,
            passwords=Passwords(memory=Bytes(8192 * 1024), iterations=1),
            registration=RegistrationSettings(**options.get("registration", {})),
        )
        self.database = database = Database(options["dsn"], reactor, server_name=SERVER)
        self.ring = Ring()
        self.writer = writer = Writer(database, self.ring, PERSIST, reactor)
        self.tasks = Tasks(clock)
        self.limiter = Limiter(clock, enabled=options.get("rate_limits", False))
        self.tokens = Tokens(database, clock)
        self.sessions = Sessions(database, writer, self.tokens, clock, options.get("lifetime_ms", LIFETIME_MS))
        self.sightings = Sightings(database, clock)
        self.passwords = PasswordChecks(self.settings.passwords, reactor)
        self.uia = UiaSessions(clock)
        self.credentials = Credentials(database, self.passwords, self.uia, self.limiter, SERVER)
        self.accounts = NewAccounts(database, self.sessions, clock, SERVER)
        self.jobs = UserJobs(database, self.tasks, clock)

    def endpoints(self) -> tuple[BoundEndpoint, ...]:
        """All doors with their services."""
        database, writer, clock = self.database, self.writer, self.clock
        profiles = Profiles(database, self.jobs, SERVER)
        rules = PushRules(database, writer, self.ring)
        manager = Accounts(database, self.credentials, self.passwords, self.sessions, profiles, self.jobs)
        registering = Registration(
            self.settings.registration, self.accounts, self.passwords, self.uia, RegistrationTokens(database, clock)
        )
        by_secret = SharedSecretRegistration(
            self.settings.registration.shared_secret, "local secret", self.accounts, self.passwords, self.limiter, clock
        )
        own_devices = Devices(database, writer, self.sessions, self.sightings, self.credentials, clock)
        return (
            *bind(login.ENDPOINTS, Login(database, self.credentials, self.sessions, self.limiter, SERVER)),
            *bind(registration.ENDPOINTS, registering),
            *bind(shared_secret.ENDPOINTS, by_secret),
            *bind(account.ENDPOINTS, manager),
            *bind(devices.ENDPOINTS, own_devices),
            *bind(profile.ENDPOINTS, profiles),
            *bind(account_data.ENDPOINTS, AccountData(database, writer, rules)),
            *bind(tags.ENDPOINTS, Tags(database, writer)),
            *bind(filters.ENDPOINTS, Filters(database)),
            *bind(push_rules.ENDPOINTS, rules),
            *bind(send_to_device.ENDPOINTS, ToDevice(database, writer, clock, SERVER)),
            *bind(versions.ENDPOINTS, Capabilities(self.settings)),
        )


def main() -> None:
    """Listen on a free port until SIGTERM."""
    reactor = cast(Any, the_reactor)
    start_logging("info", LogFile(None), "json")
    site = UsersSite(reactor, json.loads(sys.argv[1]))
    server = HttpServer(
        reactor,
        site.clock,
        site.endpoints(),
        AccessControl(site.tokens, None, site.sightings.note),
        site.limiter,
        Metrics(),
        (DatabaseUnavailable,),
    )

    async def start() -> None:
        await site.database.start()
        await site.writer.start()
        site.passwords.start()
        server.open([Listener(port=0, serves=("client", "admin"))])
        print(json.dumps({"port": server.ports[0]}), flush=True)

    async def stop() -> None:
        await server.stop(5.0)
        site.passwords.stop()
        await site.sightings.flush()
        await site.writer.stop()
        await site.database.stop()

    def broken(failure: object) -> None:
        print(failure, file=sys.stderr)
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(start()).addErrback(broken))
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))
    reactor.run()


if __name__ == "__main__":
    main()
