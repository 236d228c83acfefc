"""A homeserver's outbound half in the little internet, and peers that are homeservers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import msgspec
from twisted.internet.defer import Deferred
from twisted.protocols.tls import TLSMemoryBIOFactory

from federation.inbound import keys, version
from federation.inbound.authenticate import SignedRequests
from federation.outbound.addresses import AddressRules
from federation.outbound.agent import HttpAgent
from federation.outbound.client import FederationClient
from federation.outbound.connecting import Connecting
from federation.outbound.destinations import Destinations
from federation.outbound.key_fetch import KeyFetcher
from federation.outbound.keyring import KeyRing
from federation.outbound.notary import Notary
from federation.outbound.own_keys import OwnKeys
from federation.outbound.resolver import Resolver
from federation.outbound.signature_checks import SignatureChecks
from federation.outbound.tls import TlsTrust
from federation.outbound.web_client import WebClient
from federation.outbound.well_known import WellKnown
from homeserver.core.ids import ServerName
from homeserver.core.signatures import Signer, SigningKey
from homeserver.runtime.tasks import Tasks
from homeserver.web.access import AccessControl, Requester
from homeserver.web.errors import UnknownToken
from homeserver.web.gate import Gate
from homeserver.web.limits import Limiter
from homeserver.web.measures import HttpMeasures
from homeserver.web.plan import bind
from homeserver.web.server import pool_of
from homeserver.web.site import Site
from homeserver.web.websocket import Heartbeat, WebSockets
from storage.database import Database
from tests.integration.federation import whoami
from tests.integration.federation.network import Asked, Authority, Connection, MovableClock, Names, Peer, Script, Wires
from tests.integration.federation.network import answer as response
from tests.reactors import run_on_reactor

OUR_NAME = ServerName("ours.example")


class House:
    """All parts of ours, and what is around them. One `beside` another shares its network."""

    def __init__(
        self,
        reactor: Any,
        dsn: str,
        folder: Path,
        *,
        allow_private: bool = False,
        name: str = OUR_NAME,
        beside: House | None = None,
    ) -> None:
        self.reactor = reactor
        self.authority: Authority = Authority(folder) if beside is None else beside.authority
        self.wires: Wires = Wires(reactor) if beside is None else beside.wires
        self.names: Names = Names() if beside is None else beside.names
        self.clock: MovableClock = MovableClock(reactor) if beside is None else beside.clock
        self.database = Database(dsn, reactor, pool_size=2)
        self.tasks = Tasks(self.clock)
        self.peers: list[Peer] = []
        self.sites: list[Any] = []
        self.signer = Signer(ServerName(name), SigningKey.generate("ours"))
        self.checks = SignatureChecks(reactor)
        self.old_keys: dict[str, tuple[str, int]] = {}
        self._rules = AddressRules(allow_private)
        self.build()

    def build(self, *, verify: bool = True, notaries: tuple[str, ...] = ()) -> None:
        """Make the parts anew: all that is only in memory is forgotten."""
        self.own = OwnKeys(self.signer, self.old_keys, self.clock)
        trust = TlsTrust(verify=verify, ca_file=self.authority.file)
        connecting = Connecting(self.wires, self.names, self._rules, self.clock)
        self.agent = HttpAgent(self.reactor, connecting, trust)
        self.web = WebClient(self.agent, self.clock, "Test/1")
        self.resolver = Resolver(self.names, WellKnown(self.web, self.clock), self.clock)
        self.destinations = Destinations(self.database, self.clock, chance=lambda: 0.0)
        self.client = FederationClient(self.agent, self.resolver, self.destinations, self.signer, self.clock, "Test/1")
        fetcher = KeyFetcher(self.client, self.checks, self.clock)
        self.ring = KeyRing(self.own, fetcher, self.checks, self.database, self.clock, notaries)
        self.notary = Notary(self.own, self.ring, self.checks, self.database, self.clock)

    def peer(self, name: str, script: Script, port: int = 8448, *, certificate: str | None = None) -> Peer:
        """A server at this host name, on a public address of its own."""
        peer = Peer(self.reactor, script, self.authority.server_context(certificate or name))
        self.peers.append(peer)
        self.wires.lay(self.address_of(name), port, peer.port)
        return peer

    def address_of(self, name: str) -> str:
        """The public address of a name; made up if it has none yet."""
        known = self.names.addresses_of.get(name)
        if known is None:
            known = self.names.addresses_of[name] = [(f"9.0.0.{len(self.names.addresses_of) + 1}",)]
        return known[0][0]

    def open_doors(self) -> None:
        """Serve the endpoints of this folder's parts, and one that tells who asked."""
        verifier = SignedRequests(self.signer.server, self.ring, self.destinations)
        endpoints = (
            *bind(keys.ENDPOINTS, keys.Keys(self.own, self.notary)),
            *bind(version.ENDPOINTS, version.Version("Myelin", "0")),
            *bind(whoami.ENDPOINTS, whoami.Whoami()),
        )
        gate = Gate(
            endpoints,
            AccessControl(NoTokens(), verifier),
            Limiter(self.clock, enabled=False),
            self.clock,
            HttpMeasures(),
            pool_of(self.reactor),
        )
        site = Site(gate, self.clock, WebSockets(self.reactor, self.clock, Heartbeat()), HttpMeasures())
        context: Any = self.authority.server_context(self.signer.server)
        tls = TLSMemoryBIOFactory(context, False, cast(Any, site), self.reactor)
        port = self.reactor.listenTCP(0, tls, interface="127.0.0.1")
        self.sites.append((site, port))
        self.wires.lay(self.address_of(self.signer.server), 8448, port.getHost().port)

    def homeserver(self, name: str) -> OtherServer:
        """A server that publishes its keys."""
        return OtherServer(self, name)


class NoTokens:
    """Nobody has an access token."""

    def cached(self, token_hash: bytes) -> Requester | None:
        """Unknown."""
        return None

    async def resolve(self, token_hash: bytes) -> Requester:
        """Unknown."""
        raise UnknownToken()

    async def masquerade(self, requester: Requester, user_id: str, device_id: str | None) -> Requester:
        """Unknown."""
        raise UnknownToken()


class OtherServer:
    """A homeserver as others see it. `script` answers whatever is not about keys."""

    def __init__(self, house: House, name: str, script: Script | None = None) -> None:
        self.name = ServerName(name)
        self._clock = house.clock
        self.key = SigningKey.generate("theirs")
        self.signer = Signer(self.name, self.key)
        self.old_keys: dict[str, tuple[str, int]] = {}
        self.published: Callable[[], Any] = OwnKeys(self.signer, self.old_keys, house.clock).published
        self.script = script
        self.peer = house.peer(name.partition(":")[0], self._answer, int(name.partition(":")[2] or 8448))

    def use(self, key: SigningKey, given_up_ms: int) -> None:
        """Change to another key; the one that was used becomes an old one."""
        self.old_keys[self.key.key_id] = (self.key.verify_key_base64, given_up_ms)
        self.key = key
        self.signer = Signer(self.name, key)
        self.published = OwnKeys(self.signer, self.old_keys, self._clock).published

    def stops(self) -> None:
        """Answer with an error to everything."""
        self.peer.script = lambda *_: response(b"", 500)

    def _answer(self, asked: Asked, connection: Connection) -> bytes | None:
        if asked.target == "/_matrix/key/v2/server":
            published = self.published()
            return response(b"", 500) if published is None else response(msgspec.json.encode(published))
        if self.script is None:
            return response(b'{"errcode":"M_UNRECOGNIZED"}', 404)
        return self.script(asked, connection)

    @property
    def key_requests(self) -> int:
        """How often its keys were asked for."""
        return sum(asked.target == "/_matrix/key/v2/server" for asked in self.peer.asked)


@contextlib.asynccontextmanager
async def open_house(
    reactor: Any,
    dsn: str,
    folder: Path,
    *,
    allow_private: bool = False,
    name: str = OUR_NAME,
    beside: House | None = None,
) -> AsyncIterator[House]:
    """A house that runs."""
    house = House(reactor, dsn, folder, allow_private=allow_private, name=name, beside=beside)
    await house.database.start()
    house.checks.start()
    try:
        yield house
    finally:
        await house.tasks.stop()
        await house.agent.close()
        for site, port in house.sites:
            await port.stopListening()
            await site.stop(0)
        for peer in house.peers:
            await peer.stop()
        house.checks.stop()
        await house.database.stop()


def in_house(
    story: Callable[[House], Coroutine[Deferred[Any], Any, None]],
    dsn: str,
    folder: Path,
    *,
    allow_private: bool = False,
) -> None:
    """Run a story in a house of its own."""

    async def run(reactor: Any) -> None:
        async with open_house(reactor, dsn, folder, allow_private=allow_private) as house:
            await story(house)

    run_on_reactor(run)
