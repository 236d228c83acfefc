"""What has become of a Deferred, for tests that have no reactor."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


def result_of(waiting: Deferred[Any]) -> object:
    """What a Deferred that has fired came to; its exception as a value."""
    seen: list[object] = []

    def look(result: object) -> None:
        seen.append(result.value if isinstance(result, Failure) else result)

    waiting.addBoth(look)
    return seen[0]
