"""A plain blocking HTTP client on http.client: none of Myelin's own code, so that it makes none of its mistakes.

It keeps connections open between requests, as clients do, and may be used by several threads at once. It never
repeats a request: a test has to know how often it asked.
"""

from __future__ import annotations

import http.client
import json
import select
import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

PATIENCE_S: Final = 60.0

Json = Any
"""Whatever JSON can hold. Tests look into answers without declaring every shape first."""


class Response(NamedTuple):
    """An answer of the server."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def errcode(self) -> str | None:
        """The Matrix error code, None where the body has none."""
        try:
            found = self.json
        except ValueError:
            return None
        return str(found["errcode"]) if isinstance(found, dict) and "errcode" in found else None

    def __str__(self) -> str:
        shown = self.body[:500].decode(errors="replace")
        return f"{self.status} {shown}"


class Wire:
    """The way to one server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 80
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def ask(
        self,
        method: str,
        path: str,
        body: Json = None,
        token: str | None = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = PATIENCE_S,
    ) -> Response:
        """One request: `body` is sent as JSON, `raw` as it is. Raises OSError or HTTPException where nobody answers."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if raw is None and (body is not None or method in ("POST", "PUT")):
            raw = json.dumps({} if body is None else body).encode()
        if raw is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = self._take(timeout_s)
        try:
            connection.request(method, path, raw, sent)
            answer = connection.getresponse()
            found = Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        return found

    def close(self) -> None:
        """Close the connections that wait for another request."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self, timeout_s: float) -> http.client.HTTPConnection:
        while True:
            with self._lock:
                if not self._idle:
                    return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
                connection = self._idle.pop()
            # Something to read before any request was sent: the server has closed this one.
            if connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]:
                connection.timeout = timeout_s
                connection.sock.settimeout(timeout_s)
                return connection
            connection.close()


def client_path(*parts: str, version: str = "v3", **query: object) -> str:
    """A path of the client-server API: its variable parts quoted, those of the query that are None left out.

    A tuple is a parameter that is given several times; objects and lists are JSON in one.
    """
    path = f"/_matrix/client/{version}/" + "/".join(quote(part, safe="") for part in parts)
    asked = [
        (name, _as_text(each))
        for name, value in query.items()
        for each in (value if isinstance(value, tuple) else (value,))
        if each is not None
    ]
    return f"{path}?{urlencode(asked)}" if asked else path


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
