"""One HTTP request as handlers may see it, and the stream of a large upload."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol
from urllib.parse import unquote

from homeserver.web.errors import InvalidParam

MAX_QUERY_FIELDS = 1000


class RequestInfo:
    """What came over the wire, before anyone gave it a meaning. Treat as immutable.

    `target` is the request target exactly as sent (signed by federating servers), `path` its part before the question
    mark. Header names are lower-case; repeated headers are joined with commas.
    """

    __slots__ = (
        "_access_token",
        "_query",
        "body",
        "headers",
        "ip",
        "method",
        "path",
        "query_string",
        "request_id",
        "secure",
        "target",
    )

    def __init__(
        self, method: str, target: str, headers: Mapping[str, str], ip: str, request_id: str = "", secure: bool = False
    ) -> None:
        self.method = method
        self.target = target
        self.path, _, self.query_string = target.partition("?")
        self.headers = headers
        self.ip = ip
        self.request_id = request_id
        self.secure = secure
        self.body = b""
        self._query: dict[str, list[str]] | None = None
        self._access_token: str | None | bool = False

    def header(self, name: str) -> str | None:
        """The value of a header, by its lower-case name."""
        return self.headers.get(name)

    @property
    def user_agent(self) -> str | None:
        """What the client calls itself."""
        return self.headers.get("user-agent")

    @property
    def access_token(self) -> str | None:
        """The access token, from the header or from ?access_token= (client-server API, "Using access tokens")."""
        token = self._access_token
        if isinstance(token, bool):
            token = self._access_token = self._find_access_token()
        return token

    @property
    def query(self) -> Mapping[str, list[str]]:
        """The query parameters, percent-decoded."""
        if self._query is None:
            self._query = _parse_query(self.query_string) if self.query_string else {}
        return self._query

    def query_value(self, name: str) -> str | None:
        """The first value of a query parameter."""
        if not self.query_string:
            return None
        values = self.query.get(name)
        return values[0] if values else None

    @property
    def transaction_key(self) -> str:
        """What makes a retransmission the same request: method and path, whatever alias of the path was used.

        Client-server API, "Transaction identifiers": the scope is one device and one endpoint.
        """
        return f"{self.method} {self.path.replace('/_matrix/client/r0/', '/_matrix/client/v3/', 1)}"

    def _find_access_token(self) -> str | None:
        authorization = self.headers.get("authorization")
        if authorization is not None and authorization[:7].lower() == "bearer ":
            return authorization[7:].strip() or None
        if "access_token=" in self.query_string:
            return self.query_value("access_token") or None
        return None


class Upload(Protocol):
    """The body of a request that is too large to hold: chunks as they arrive, the sender slowed to our pace.

    Iterating raises `errors.TooLarge` once the endpoint's limit is passed, and `ConnectionAborted` if the sender goes.
    """

    content_type: str | None
    content_length: int | None

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class ConnectionAborted(Exception):
    """The other side closed the connection in the middle of its request."""


def _parse_query(query_string: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    try:
        pairs = query_string.split("&", MAX_QUERY_FIELDS)
        if len(pairs) > MAX_QUERY_FIELDS:
            raise ValueError
        for pair in pairs:
            if pair:
                name, _, value = pair.partition("=")
                if "%" in pair or "+" in pair:
                    name, value = _unquoted(name), _unquoted(value)
                values.setdefault(name, []).append(value)
    except ValueError:
        raise InvalidParam("The query string must be percent-encoded UTF-8 with at most 1000 parameters.") from None
    return values


def _unquoted(text: str) -> str:
    text = text.replace("+", " ")
    return unquote(text, errors="strict") if "%" in text else text
