"""Users, their sessions and what belongs to them."""

from __future__ import annotations

from dataclasses import dataclass

from federation.outbound.device_messages import DeviceMessages
from homeserver.parts.foundations import Foundations
from homeserver.users.account_data import AccountData
from homeserver.users.accounts import Accounts
from homeserver.users.capabilities import Capabilities
from homeserver.users.credentials import Credentials
from homeserver.users.device_numbers import DeviceNumbers
from homeserver.users.devices import Devices
from homeserver.users.filters import Filters
from homeserver.users.jobs import UserJobs
from homeserver.users.login import Login
from homeserver.users.new_accounts import NewAccounts
from homeserver.users.new_devices import NewDevices
from homeserver.users.openid import OpenId
from homeserver.users.passwords import Passwords
from homeserver.users.profiles import Profiles, RemoteProfiles
from homeserver.users.push_rules import PushRules
from homeserver.users.registration import Registration
from homeserver.users.registration_tokens import RegistrationTokens
from homeserver.users.sessions import Sessions
from homeserver.users.shared_secret import SharedSecretRegistration
from homeserver.users.sightings import Sightings
from homeserver.users.tags import Tags
from homeserver.users.to_device import ToDevice
from homeserver.users.tokens import Tokens
from homeserver.users.uia_sessions import UiaSessions
from homeserver.web.limits import Limiter


@dataclass(frozen=True, slots=True)
class Accounting:
    """Users, their sessions and what belongs to them."""

    passwords: Passwords
    credentials: Credentials
    tokens: Tokens
    sightings: Sightings
    jobs: UserJobs
    profiles: Profiles
    push_rules: PushRules
    account_data: AccountData
    tags: Tags
    filters: Filters
    accounts: Accounts
    devices: Devices
    login: Login
    registration: Registration
    shared_secret: SharedSecretRegistration
    capabilities: Capabilities
    openid: OpenId
    to_device: ToDevice
    device_numbers: DeviceNumbers
    new_devices: NewDevices


def make_accounting(base: Foundations, limiter: Limiter, remote: RemoteProfiles | None = None) -> Accounting:
    """Accounts, and the ways into them."""
    settings, database, clock = base.settings, base.database, base.clock
    passwords = Passwords(settings.passwords, base.reactor)
    tokens = Tokens(database, clock)
    sightings = Sightings(database, clock)
    new_devices = NewDevices()
    sessions = Sessions(database, base.writer, base.ring, tokens, new_devices, clock)
    uia_sessions = UiaSessions(clock)
    credentials = Credentials(database, passwords, uia_sessions, limiter, base.server_name)
    new_accounts = NewAccounts(database, sessions, clock, base.server_name)
    jobs = UserJobs(database, base.tasks, clock)
    profiles = Profiles(database, jobs, base.server_name, remote)
    push_rules = PushRules(database, base.writer, base.ring)
    device_numbers = DeviceNumbers(database, base.ring)
    return Accounting(
        passwords=passwords,
        credentials=credentials,
        tokens=tokens,
        sightings=sightings,
        jobs=jobs,
        profiles=profiles,
        push_rules=push_rules,
        account_data=AccountData(database, base.writer, push_rules),
        tags=Tags(database, base.writer),
        filters=Filters(database),
        accounts=Accounts(database, credentials, passwords, sessions, profiles, jobs),
        devices=Devices(database, base.writer, sessions, sightings, credentials, clock),
        login=Login(database, credentials, sessions, limiter, base.server_name),
        registration=Registration(
            settings.registration, new_accounts, passwords, uia_sessions, RegistrationTokens(database, clock)
        ),
        shared_secret=SharedSecretRegistration(
            settings.registration.shared_secret, base.local_secret, new_accounts, passwords, limiter, clock
        ),
        capabilities=Capabilities(settings),
        openid=OpenId(database, clock, base.server_name),
        to_device=ToDevice(
            database,
            base.writer,
            base.ring,
            clock,
            base.server_name,
            device_numbers,
            DeviceMessages(base.writer) if settings.federation.enabled else None,
        ),
        device_numbers=device_numbers,
        new_devices=new_devices,
    )
