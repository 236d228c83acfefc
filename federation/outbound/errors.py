"""How a request to another server can fail. All are `RemoteError`s with the server's name and a sentence."""

from __future__ import annotations

from homeserver.core.canonical_json import JsonObject


class RemoteError(Exception):
    """Another server did not do what it was asked."""

    def __init__(self, destination: str, message: str) -> None:
        super().__init__(f"{destination}: {message}")
        self.destination = destination
        self.message = message


class RemoteRefused(RemoteError):
    """The server answered with an error status; it is alive and means it, where the status is 4xx."""

    def __init__(
        self,
        destination: str,
        status: int,
        errcode: str | None,
        message: str,
        body: JsonObject | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(destination, f"refused with {status} {errcode or 'without a code'}: {message}")
        self.status = status
        self.errcode = errcode
        self.error = message
        self.body = body or {}
        self.retry_after_ms = retry_after_ms
        """When the server says that it may be asked again; None where it does not."""


class RemoteUnreachable(RemoteError):
    """There was no answer: no such name, no connection, no valid certificate, no answer in time."""


class RemoteBackedOff(RemoteUnreachable):
    """The server was not asked: it did not answer of late, and its time has not come yet."""

    def __init__(self, destination: str, retry_at_ms: int) -> None:
        super().__init__(destination, "did not answer of late and is left alone for a while")
        self.retry_at_ms = retry_at_ms


class RemoteNonsense(RemoteError):
    """The server answered, but not as the specification has it: no JSON, no object, far too much."""
