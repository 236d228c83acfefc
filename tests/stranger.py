"""Another homeserver, played by a test: it answers over TLS as the test says, and sends what the test wants.

It has nothing of Myelin but the core, which builds and signs its events. `Stranger.joins` brings one of its users into
a room of a real server; after that it may send whatever it likes, true or not.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlsplit

from federation.outbound import x_matrix
from homeserver.core import canonical_json, signatures
from homeserver.core.auth import needed_auth_keys
from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft, build
from homeserver.core.event import Event
from homeserver.core.ids import EventId, RoomId, ServerName, UserId
from homeserver.core.room_rules import ROOM_RULES, RoomRules
from homeserver.core.signatures import Signer, SigningKey
from tests.federated import TestAuthority
from tests.wire import Json

HOST: Final = "127.0.0.1"
PREFIX: Final = "/_matrix/federation/v1/"

Answer = Callable[["Asked"], Json | bytes]


class Asked:
    """A request that came to the stranger."""

    def __init__(self, method: str, target: str, body: Json) -> None:
        parts = urlsplit(target)
        self.method = method
        self.path = unquote(parts.path)
        self.query = parse_qs(parts.query)
        self.body = body

    @property
    def last(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[1]


class NotHere(Exception):
    """Answered with 404."""


class NoAnswer(Exception):
    """The connection ends without an answer."""


class Refuses(Exception):
    """Answered with an error of this status."""

    def __init__(self, status: int, errcode: str, error: str, **more: Json) -> None:
        super().__init__(error)
        self.status = status
        self.body: Json = {"errcode": errcode, "error": error, **more}


class Stranger:
    """A homeserver of the test's own."""

    def __init__(self, authority: TestAuthority) -> None:
        self.answers: dict[str, Answer] = {}
        """What is answered, by the beginning of the path after /_matrix/federation/v1/."""
        self.asked: list[Asked] = []
        self.hides_keys = False
        self.claims_of_keys: Json = {}
        """What it says of its keys beside the truth, and instead of it."""
        self.asked_for_keys = 0
        self.trust = ssl.create_default_context(cafile=str(authority.file))
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name is http.server's
                stranger._serve(self)

            do_POST = do_PUT = do_GET

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._http = ThreadingHTTPServer((HOST, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.tls["certificate"], authority.tls["private_key"])
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.name = ServerName(f"{HOST}:{self._http.server_address[1]}")
        # Ports come round again. Whoever has the name of an earlier one has its key, which servers remember.
        self.signer = Signer(self.name, SigningKey("x", hashlib.sha256(self.name.encode()).digest()))
        self._transactions = 0
        # So do the names, and a transaction of an earlier one must not be taken for a repeat.
        self._visit = secrets.token_hex(4)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self._http.shutdown()
        self._http.server_close()

    def user(self, localpart: str) -> UserId:
        """One of its users."""
        return UserId(f"@{localpart}:{self.name}")

    # What it asks of others.

    def asks(self, server: str, method: str, target: str, body: Json = None) -> tuple[int, Json]:
        """One signed request: status and JSON of the answer."""
        return self.asks_raw(server, method, target, None if body is None else canonical_json.encode_lenient(body))

    def asks_raw(self, server: str, method: str, target: str, encoded: bytes | None) -> tuple[int, Json]:
        """The same with any body at all."""
        header = x_matrix.authorization(self.signer, server, method, target, encoded)
        host, _, port = server.rpartition(":")
        connection = http.client.HTTPSConnection(host, int(port), context=self.trust, timeout=60)
        try:
            connection.request(method, target, encoded, {"Authorization": header, "Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def reads(self, server: str, *parts: str, **query: str) -> tuple[int, Json]:
        """GET of one of the endpoints of the federation."""
        path = PREFIX + "/".join(quote(part, safe="") for part in parts)
        asked = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        return self.asks(server, "GET", f"{path}?{asked}" if asked else path)

    def sends(
        self, server: str, pdus: Sequence[Event | JsonObject] = (), edus: Sequence[Json] = (), txn_id: str | None = None
    ) -> tuple[int, Json]:
        """A transaction."""
        self._transactions += 1
        body = {
            "origin": self.name,
            "origin_server_ts": now_ms(),
            "pdus": [pdu.to_pdu() if isinstance(pdu, Event) else pdu for pdu in pdus],
            "edus": list(edus),
        }
        return self.asks(server, "PUT", f"{PREFIX}send/{txn_id or f'{self._visit}t{self._transactions}'}", body)

    def joins(
        self,
        server: str,
        room_id: str,
        user_id: UserId,
        *,
        ts: int | None = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Visit:
        """Bring a user into a room. `meanwhile` happens when the join is made and the server does not have it yet."""
        path = f"make_join/{quote(room_id, safe='')}/{quote(user_id, safe='')}"
        versions = "&".join(f"ver={version}" for version in ROOM_RULES)
        status, template = self.asks(server, "GET", f"{PREFIX}{path}?{versions}")
        assert status == 200, template
        rules = ROOM_RULES[template["room_version"]]
        visit = Visit(self, server, RoomId(room_id), rules)
        proposed = template["event"]
        event = visit.build(
            user_id,
            "m.room.member",
            proposed["content"],
            user_id,
            prev=[_id(each) for each in proposed["prev_events"]],
            auth=[_id(each) for each in proposed["auth_events"]],
            depth=proposed["depth"],
            ts=ts,
        )
        meanwhile()
        target = f"/_matrix/federation/v2/send_join/{quote(room_id, safe='')}/{quote(event.event_id, safe='')}"
        status, answer = self.asks(server, "PUT", target, event.to_pdu())
        assert status == 200, answer
        for pdu in answer["state"]:
            visit.saw(Event.parse(pdu, rules))
        visit.saw(event)
        return visit

    # What others ask of it.

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        raw = request.rfile.read(length)
        asked = Asked(request.command, request.path, json.loads(raw) if raw else None)
        status: int = 200
        body: Json | bytes = self._keys()
        if asked.path.startswith("/_matrix/key/v2/server"):
            self.asked_for_keys += 1
            if self.hides_keys:
                status, body = 500, {"errcode": "M_UNKNOWN", "error": "not now"}
        else:
            self.asked.append(asked)
            rest = asked.path.removeprefix(PREFIX)
            answer = next((self.answers[start] for start in self.answers if rest.startswith(start)), None)
            try:
                status, body = (200, answer(asked)) if answer is not None else (404, {"errcode": "M_UNRECOGNIZED"})
            except NoAnswer:
                request.close_connection = True
                return
            except NotHere:
                status, body = 404, {"errcode": "M_NOT_FOUND", "error": "not here"}
            except Refuses as refusal:
                status, body = refusal.status, refusal.body
        encoded = body if isinstance(body, bytes) else canonical_json.encode_lenient(body)
        try:
            request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(encoded)))
            request.end_headers()
            request.wfile.write(encoded)
        except OSError:
            return  # whoever asked has gone

    def _keys(self) -> Json:
        return signatures.sign_json(
            {
                "server_name": self.name,
                "verify_keys": {self.signer.key.key_id: {"key": self.signer.key.verify_key_base64}},
                "old_verify_keys": {},
                "valid_until_ts": now_ms() + 3_600_000,
                **self.claims_of_keys,
            },
            self.name,
            self.signer.key,
        )


class Visit:
    """A room as the stranger sees it."""

    def __init__(self, stranger: Stranger, server: str, room_id: RoomId, rules: RoomRules) -> None:
        self.stranger = stranger
        self.server = server
        self.room_id = room_id
        self.rules = rules
        self.state: dict[tuple[str, str], Event] = {}
        self.last: Event | None = None
        self.events: dict[str, Event] = {}
        self._built = 0

    def saw(self, event: Event) -> None:
        """An event comes last."""
        self.events[event.event_id] = event
        if event.is_state:
            self.state[event.key] = event
        self.last = event

    def build(
        self,
        sender: UserId,
        type: str,
        content: JsonObject,
        state_key: str | None = None,
        *,
        prev: Sequence[EventId] | None = None,
        auth: Sequence[EventId] | None = None,
        depth: int | None = None,
        signer: Signer | None = None,
        ts: int | None = None,
    ) -> Event:
        """An event that comes after the last one, or after others; nothing is checked."""
        if prev is None:
            assert self.last is not None
            prev = [self.last.event_id]
        if auth is None:
            keys = needed_auth_keys(type, sender, state_key, content, self.rules)
            auth = [self.state[key].event_id for key in keys if key in self.state]
        if depth is None:
            depth = 1 + max((self.events[each].depth for each in prev if each in self.events), default=10)
        self._built += 1
        return build(
            Draft(self.room_id, type, sender, content, state_key),
            self.rules,
            prev,
            auth,
            depth,
            ts or now_ms(),
            signer or self.stranger.signer,
            EventId(f"$s{self._built}x{now_ms()}x{id(self)}:{self.stranger.name}"),
        )

    def says(self, sender: UserId, text: str, **how: Any) -> Event:
        """Build a message."""
        return self.build(sender, "m.room.message", {"msgtype": "m.text", "body": text}, **how)

    def sends(self, *events: Event | JsonObject, edus: Sequence[Json] = ()) -> Mapping[str, Json]:
        """Send events; gives what became of each."""
        status, answer = self.stranger.sends(self.server, events, edus)
        assert status == 200, answer
        results: Mapping[str, Json] = answer["pdus"]
        return results


def now_ms() -> int:
    """The time."""
    return int(time.time() * 1000)


def _id(reference: Json) -> EventId:
    return EventId(reference if isinstance(reference, str) else reference[0])
