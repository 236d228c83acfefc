"""The parts that speak to other servers, made in order: finding them, requests, keys, what is known of who answers."""

from __future__ import annotations

from dataclasses import dataclass

from federation.outbound.addresses import AddressRules
from federation.outbound.agent import HttpAgent
from federation.outbound.client import FederationClient
from federation.outbound.connecting import Connecting
from federation.outbound.destinations import Destinations
from federation.outbound.dns import SystemDns
from federation.outbound.key_fetch import KeyFetcher
from federation.outbound.keyring import KeyRing
from federation.outbound.notary import Notary
from federation.outbound.own_keys import OwnKeys
from federation.outbound.policy import PolicyRequests
from federation.outbound.queries import Queries
from federation.outbound.resolver import Resolver
from federation.outbound.signature_checks import SignatureChecks
from federation.outbound.tls import TlsTrust
from federation.outbound.web_client import WebClient
from federation.outbound.well_known import WellKnown
from homeserver import __version__
from homeserver.parts.foundations import Foundations
from homeserver.rooms.policy_servers import RemotePolicyServers


@dataclass(frozen=True, slots=True)
class Transport:
    """The ways to other servers."""

    checks: SignatureChecks
    web: WebClient
    destinations: Destinations
    client: FederationClient
    own_keys: OwnKeys
    ring: KeyRing
    notary: Notary
    queries: Queries
    policies: RemotePolicyServers

    async def start(self, base: Foundations) -> None:
        """Make ready to ask and to be asked."""
        self.checks.start()
        await self.destinations.start(base.tasks)

    def stop(self) -> None:
        """End the threads."""
        self.checks.stop()


def make_transport(base: Foundations) -> Transport:
    """Everything below the services."""
    settings, clock, reactor = base.settings.federation, base.clock, base.reactor
    user_agent = f"Myelin/{__version__}"
    dns = SystemDns(reactor)
    connecting = Connecting(reactor, dns, AddressRules(settings.allow_private_addresses), clock)
    agent = HttpAgent(reactor, connecting, TlsTrust(verify=settings.verify_tls, ca_file=settings.ca_file))
    web = WebClient(agent, clock, user_agent)
    destinations = Destinations(base.database, clock)
    resolver = Resolver(dns, WellKnown(web, clock), clock)
    client = FederationClient(agent, resolver, destinations, base.signer, clock, user_agent)
    checks = SignatureChecks(reactor)
    old_keys = {key.key_id: (key.public_key, key.expired_ts) for key in settings.old_signing_keys}
    own_keys = OwnKeys(base.signer, old_keys, clock)
    ring = KeyRing(
        own_keys, KeyFetcher(client, checks, clock), checks, base.database, clock, settings.trusted_key_servers
    )
    return Transport(
        checks=checks,
        web=web,
        destinations=destinations,
        client=client,
        own_keys=own_keys,
        ring=ring,
        notary=Notary(own_keys, ring, checks, base.database, clock),
        queries=Queries(client),
        policies=RemotePolicyServers(PolicyRequests(client), checks, clock, base.server_name),
    )
