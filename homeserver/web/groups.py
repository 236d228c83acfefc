"""What a listener may serve: endpoints fall into groups by their paths."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Literal

from homeserver.web.plan import BoundEndpoint

Group = Literal["client", "federation", "media", "admin", "metrics"]

# The longest prefix that fits decides. None of a path's groups being served means that the path does not exist there.
_GROUPS: Final[tuple[tuple[str, frozenset[Group]], ...]] = (
    ("/_matrix/client/v1/media/", frozenset({"client", "media"})),
    ("/_matrix/client/unstable/org.matrix.msc3916/media/", frozenset({"client", "media"})),
    ("/_matrix/federation/v1/media/", frozenset({"federation", "media"})),
    ("/_matrix/federation/unstable/org.matrix.msc3916.v2/media/", frozenset({"federation", "media"})),
    ("/.well-known/matrix/server", frozenset({"client", "federation"})),
    ("/.well-known/", frozenset({"client"})),
    ("/_matrix/client/", frozenset({"client"})),
    ("/_matrix/media/", frozenset({"media"})),
    ("/_matrix/federation/", frozenset({"federation"})),
    ("/_matrix/key/", frozenset({"federation"})),
    ("/_synapse/admin/", frozenset({"admin"})),
    ("/_synapse/client/", frozenset({"client"})),
    ("/_myelin/admin/", frozenset({"admin"})),
    ("/metrics", frozenset({"metrics"})),
    ("/health", frozenset({"client", "federation", "media", "admin", "metrics"})),
)


def groups_of(path: str) -> frozenset[Group]:
    """The groups of which a listener must serve one to have this path; what fits nothing is for clients."""
    for prefix, groups in _GROUPS:
        if path.startswith(prefix):
            return groups
    return frozenset({"client"})


def served(endpoints: Iterable[BoundEndpoint], serves: Collection[Group]) -> tuple[BoundEndpoint, ...]:
    """Those of the endpoints that a listener with this `serves` has."""
    return tuple(each for each in endpoints if not groups_of(each.declaration.path).isdisjoint(serves))
