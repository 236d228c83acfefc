"""Speaking to the running server over its own listeners."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any

from config.settings import Listener, Service, Settings


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; an empty one where it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


def listener_for(settings: Settings, *services: Service) -> Listener:
    """The listener to speak to: the first that offers one of these services, plain before TLS."""
    for service in services:
        offers = [listener for listener in settings.listeners if service in listener.serves]
        if offers:
            return min(offers, key=lambda listener: listener.tls is not None)
    return settings.listeners[0]


def address(listener: Listener) -> str:
    """Where it is, as a URL."""
    host = f"[{listener.bind}]" if ":" in listener.bind else listener.bind
    return f"{'https' if listener.tls else 'http'}://{host}:{listener.port}"


def ask(
    listener: Listener,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    timeout_seconds: float = 10.0,
    token: str | None = None,
) -> Answer:
    """One request; OSError or HTTPException where nobody answers."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.bind, listener.bind)
    connection: http.client.HTTPConnection
    if listener.tls is not None:
        # It is our own server on this machine; its certificate names its public name, not this address.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, listener.port, timeout=timeout_seconds, context=context)
    else:
        connection = http.client.HTTPConnection(host, listener.port, timeout=timeout_seconds)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        return Answer(response.status, response.read())
    finally:
        connection.close()


def is_well(settings: Settings, timeout_seconds: float = 5.0) -> bool:
    """Does the server answer, with its database?"""
    listener = listener_for(settings, "client", "federation", "metrics")
    try:
        return ask(listener, "GET", "/health", timeout_seconds=timeout_seconds).status == 200
    except (OSError, http.client.HTTPException):
        return False
