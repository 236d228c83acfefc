"""The network between servers, as bad as a test wants it.

A `Gate` stands before a server: its address is the server's name, so that all that others ask of it over the
federation comes through. It speaks TLS on both sides, and knows by the signature whose request it holds; signatures are
over names, target and body, so that what it passes on is as good as what came. What befalls the requests on each link
(from one server to another) is drawn from dice of that link's own: the n-th request on it has the same fate each time.

Transactions of one server can only overtake each other where the first one was given up: servers send the next when
the last is answered. So what is `late` here ends for the sender at once, and arrives when others have arrived.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from bench.authority import HOST
from tests.federated import TestAuthority
from tests.wire import Response

SEND: Final = "/_matrix/federation/v1/send/"
REPEATABLE: Final = ("/send/", "/send_join/", "/send_leave/", "/send_knock/", "/invite/")
PATIENCE_S: Final = 90.0
PIECES: Final = 8
_ORIGIN: Final = re.compile(r'origin="?([^",]+)')
_PASSED_ON: Final = ("Authorization", "Content-Type", "User-Agent", "Accept")
_RESET: Final = struct.pack("ii", 1, 0)


class Fate(StrEnum):
    """What befalls a request."""

    WELL = "arrives"
    REFUSED = "is refused"
    """The connection ends before anything was passed on."""
    UNANSWERED = "arrives, its answer is lost"
    TORN = "arrives, its answer is cut in the middle"
    LATE = "seems to be lost, and arrives late"
    AGAIN = "arrives, and later again"
    SLOW = "is slow"


@dataclass(frozen=True, slots=True)
class Weather:
    """How likely each fate is; what is left of 1 arrives. `longest_s`: how long what is late or slow may take."""

    refused: float = 0.0
    unanswered: float = 0.0
    torn: float = 0.0
    late: float = 0.0
    again: float = 0.0
    slow: float = 0.0
    longest_s: float = 2.0

    def fate(self, dice: random.Random) -> Fate:
        """Draw one."""
        drawn = dice.random()
        for fate, chance in (
            (Fate.REFUSED, self.refused),
            (Fate.UNANSWERED, self.unanswered),
            (Fate.TORN, self.torn),
            (Fate.LATE, self.late),
            (Fate.AGAIN, self.again),
            (Fate.SLOW, self.slow),
        ):
            if drawn < chance:
                return fate
            drawn -= chance
        return Fate.WELL


FAIR: Final = Weather()


@dataclass(frozen=True, slots=True)
class Letter:
    """A request that is to be passed on."""

    origin: str
    method: str
    target: str
    body: bytes
    headers: dict[str, str]

    @property
    def is_transaction(self) -> bool:
        """Whether it is a PUT /send."""
        return self.method == "PUT" and self.target.startswith(SEND)

    @property
    def may_come_again(self) -> bool:
        """Whether whoever sent it might do so again."""
        return self.method == "PUT" and any(each in self.target for each in REPEATABLE)


class Gate:
    """What stands before one server. `port` is where others find it."""

    def __init__(self, target: int, authority: TestAuthority) -> None:
        self._target = target
        self._trust = ssl.create_default_context(cafile=str(authority.file))
        self._weather = FAIR
        self._shut: frozenset[str] = frozenset()
        self._is_shut = False
        self._lock = threading.Lock()
        self._dice: dict[str, random.Random] = {}
        self._late: list[threading.Timer] = []
        self._kept: list[Letter] = []
        self.story: list[str] = []
        """What befell each request that did not just arrive."""
        self.complaints: list[str] = []
        """Repeats that were answered in another way than the first time."""
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:  # the name is http.server's
                gate._serve(self)

            do_POST = do_PUT = do_GET

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # whoever asked has gone, or was cut off
                    super().handle()

            def finish(self) -> None:
                with contextlib.suppress(OSError):
                    super().finish()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._http = _Server((HOST, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.tls["certificate"], authority.tls["private_key"])
        # The handshake is for the thread of the connection: one that does not come must not hold up others.
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    # What a test does with it.

    def turns(self, weather: Weather, dice: Mapping[str, random.Random]) -> None:
        """From now on this is the weather, for requests of these servers; each has its dice."""
        with self._lock:
            self._weather, self._dice = weather, dict(dice)
            self.story.clear()

    def shuts_out(self, servers: Collection[str]) -> None:
        """Requests of these servers are refused from now on, and of no others."""
        with self._lock:
            self._shut = frozenset(servers)

    def shut(self) -> None:
        """Nobody gets through, also not without a name."""
        self._is_shut = True

    def open(self) -> None:
        """All is well from now on. What is late arrives at once."""
        with self._lock:
            self._dice, self._shut, self._is_shut = {}, frozenset(), False
            late, self._late = self._late, []
        for timer in late:
            timer.cancel()
            timer.function(*timer.args)

    def brings_again(self, share: float, seed: str) -> int:
        """Pass on again some of the transactions that it has passed on before, in any order; how many."""
        dice = random.Random(seed)
        with self._lock:
            letters = [letter for letter in self._kept if dice.random() < share]
        dice.shuffle(letters)
        for letter in letters:
            answer = self._pass_on(letter)
            if answer is None or answer.status != 200:
                self.complaints.append(f"{letter.target} of {letter.origin} came again, and was answered with {answer}")
        return len(letters)

    def close(self) -> None:
        """End it."""
        with self._lock:
            late, self._late = self._late, []
        for timer in late:
            timer.cancel()
        self._http.shutdown()
        self._http.server_close()

    # What it does with requests.

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        named = _ORIGIN.search(request.headers.get("Authorization") or "")
        headers = {name: value for name in _PASSED_ON if (value := request.headers.get(name)) is not None}
        letter = Letter(named.group(1) if named else "", request.command, request.path, body, headers)
        fate, delay_s = self._fate(letter)
        if fate is Fate.REFUSED:
            return self._break_off(request)
        if fate is Fate.LATE:
            self._pass_on_later(letter, delay_s, None)
            return self._break_off(request)
        if fate is Fate.SLOW:
            time.sleep(delay_s / 2)
        answer = self._pass_on(letter)
        if answer is None or fate is Fate.UNANSWERED:
            return self._break_off(request)
        if fate is Fate.AGAIN:
            self._pass_on_later(letter, delay_s, answer)
        return self._answer(request, answer, fate, delay_s / 2)

    def _fate(self, letter: Letter) -> tuple[Fate, float]:
        with self._lock:
            if self._is_shut or letter.origin in self._shut:
                return Fate.REFUSED, 0.0
            dice = self._dice.get(letter.origin)
            if dice is None:
                return Fate.WELL, 0.0  # such as for keys, of which no server says that it wants them
            fate, delay_s = self._weather.fate(dice), self._weather.longest_s * dice.random()
        if (fate is Fate.LATE and not letter.is_transaction) or (fate is Fate.AGAIN and not letter.may_come_again):
            fate = Fate.WELL
        if fate is not Fate.WELL:
            self.story.append(f"{letter.method} {letter.target.split('?')[0]} of {letter.origin} {fate}")
        return fate, delay_s

    def _pass_on(self, letter: Letter) -> Response | None:
        """The answer of the server; None if there is none."""
        connection = http.client.HTTPSConnection(HOST, self._target, timeout=PATIENCE_S, context=self._trust)
        try:
            connection.request(letter.method, letter.target, letter.body or None, letter.headers)
            answer = connection.getresponse()
            found = Response(answer.status, dict(answer.getheaders()), answer.read())
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        if letter.is_transaction:
            with self._lock:
                self._kept.append(letter)
        return found

    def _pass_on_later(self, letter: Letter, delay_s: float, first: Response | None) -> None:
        def bring() -> None:
            answer = self._pass_on(letter)
            if first is not None and answer is not None and (answer.status, answer.body) != (first.status, first.body):
                self.complaints.append(f"{letter.target} was answered with {first}, and then with {answer}")

        timer = threading.Timer(delay_s, bring)
        timer.daemon = True
        with self._lock:
            self._late = [each for each in self._late if each.is_alive()] + [timer]
        timer.start()

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, answer: Response, fate: Fate, delay_s: float) -> None:
        request.send_response(answer.status)
        for name in ("Content-Type", "Retry-After"):
            if name in answer.headers:
                request.send_header(name, answer.headers[name])
        request.send_header("Content-Length", str(len(answer.body)))
        request.end_headers()
        if fate is Fate.TORN:
            request.wfile.write(answer.body[: len(answer.body) // 2])
            return Gate._break_off(request)
        size = max(1, len(answer.body) // PIECES) if fate is Fate.SLOW else max(1, len(answer.body))
        for start in range(0, len(answer.body), size):
            if fate is Fate.SLOW:
                time.sleep(delay_s / PIECES)
            request.wfile.write(answer.body[start : start + size])
        return None

    @staticmethod
    def _break_off(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        with contextlib.suppress(OSError):
            request.wfile.flush()
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            request.connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A handshake that failed, a connection that was cut: this is what they are here for."""
