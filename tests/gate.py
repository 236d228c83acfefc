"""A gate before the federation listener of a server: it notes what is asked, and holds back what the test names.

gate = Gate(authority)
here = Federated(dsn, authority, known_at=gate.port, federation_port=gate.server_port)
gate.holds("state_ids")
...
gate.opens()
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

from bench.authority import HOST
from tests.federated import TestAuthority
from tests.integration.admin import free_port
from tests.wire import Json

PATIENCE_S: Final = 60.0
_PASSED_ON: Final = ("Authorization", "Content-Type")

Change = Callable[[Json], Json]
"""Makes another answer of an answer."""


class Gate:
    """Lets requests through to a server, whose name leads here. `asked`: what was asked, paths with their queries."""

    def __init__(self, authority: TestAuthority) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Json] = {}
        """The last answer to each endpoint that is listened to, by its name: see `listens`."""
        self.server_port = free_port()
        self._changes: dict[str, Change] = {}
        self._held: dict[str, threading.Event] = {}
        self._is_cut = False
        self._trust = ssl.create_default_context(cafile=str(authority.file))
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name is http.server's
                gate._pass_on(self)

            do_POST = do_PUT = do_GET

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._http = ThreadingHTTPServer((HOST, 0), Handler)
        self._http.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.tls["certificate"], authority.tls["private_key"])
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.port: int = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def holds(self, *endpoints: str) -> None:
        """Requests to endpoints (such as `state_ids`) wait from now on."""
        for endpoint in endpoints:
            self._held[endpoint] = threading.Event()

    def opens(self, *endpoints: str) -> None:
        """What waits goes on, and nothing waits any more; of these endpoints alone, if they are named."""
        for endpoint in endpoints or tuple(self._held):
            self._held.pop(endpoint).set()

    def cuts(self) -> None:
        """Nothing comes through any more."""
        self._is_cut = True
        self.opens()

    def changes(self, endpoint: str, change: Change) -> None:
        """Answers of an endpoint are changed on their way."""
        self._changes[endpoint] = change

    def listens(self, endpoint: str) -> None:
        """Keep the answers of an endpoint."""
        self._changes.setdefault(endpoint, lambda answer: answer)

    def count(self, endpoint: str) -> int:
        """How often an endpoint was asked."""
        return sum(_endpoint(target) == endpoint for target in self.asked)

    def waits_for(self, endpoint: str, times: int = 1) -> None:
        """Wait until an endpoint was asked so often."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self.count(endpoint) < times:
            assert time.monotonic() < deadline_s, f"nobody asked for {endpoint}"
            time.sleep(0.02)

    def stop(self) -> None:
        """Close it."""
        self.cuts()
        self._http.shutdown()
        self._http.server_close()

    def _pass_on(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        endpoint = _endpoint(request.path)
        self.asked.append(request.path)
        held = self._held.get(endpoint)
        if held is not None:
            held.wait(PATIENCE_S)
        if self._is_cut:
            request.close_connection = True
            return
        status, answer = self._ask(request, body)
        change = self._changes.get(endpoint)
        if change is not None and status == 200:
            changed = self.answers[endpoint] = change(json.loads(answer))
            answer = json.dumps(changed).encode()
        try:
            request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(answer)))
            request.end_headers()
            request.wfile.write(answer)
        except OSError:
            return  # whoever asked has gone

    def _ask(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(HOST, self.server_port, context=self._trust, timeout=PATIENCE_S)
        try:
            headers = {name: value for name in _PASSED_ON if (value := request.headers.get(name))}
            connection.request(request.command, request.path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 502, b"{}"
        finally:
            connection.close()


def _endpoint(target: str) -> str:
    """The name of the endpoint: what follows the version in the path."""
    parts = urlsplit(target).path.split("/")
    return parts[4] if len(parts) > 4 else target
