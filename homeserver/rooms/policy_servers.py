"""Asks the policy servers of rooms for their signatures, on events of our users and on those that came without one.

Specification: server-server API, "Asking for a Policy Server signature on an event", "Validating Policy Server
signatures".
"""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol, cast

import structlog
from twisted.internet.defer import Deferred, gatherResults

from federation.outbound.errors import RemoteError, RemoteRefused, RemoteUnreachable
from federation.outbound.policy import PolicyRequests
from federation.outbound.signature_checks import SignatureChecks
from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event, EventTooLarge
from homeserver.core.ids import ServerName
from homeserver.core.policy import PolicyServer, is_recommended, with_recommendation
from homeserver.rooms.missing import MissingSignatures
from homeserver.rooms.recommended import Opinion, Recommended
from homeserver.runtime.clock import Clock
from homeserver.runtime.time_limit import TookTooLong, within
from homeserver.web.errors import Forbidden, MatrixError

PATIENCE_S: Final = 15.0
"""For all events that came together: those that are not signed by then go without."""
ABOUT_THE_SESSION: Final = frozenset(
    ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_USER_DEACTIVATED", "M_USER_LOCKED", "M_USER_SUSPENDED")
)
"""What another server has no say in: clients would log out."""

log: Final = structlog.get_logger("homeserver.rooms.policy")


class PolicyServerAway(MatrixError):
    """The room's policy server does not answer: the event cannot be sent now, perhaps later."""

    def __init__(self, server: str) -> None:
        message = f"The policy server of this room, {server}, does not answer; nothing can be sent without it."
        super().__init__(504, "M_UNKNOWN", message)


class PolicyServers(Protocol):
    """The policy servers of rooms."""

    async def sign(self, policy: PolicyServer, event: Event) -> Event:
        """An event of a local user with the signature. MatrixError, for the user, if there is none to be had."""
        ...

    async def heard(self, so_far: Recommended, missing: MissingSignatures) -> Recommended:
        """What was said so far, and what they say to these events too. MatrixError where a local user's is refused."""
        ...


class NoPolicyServers:
    """This server talks to no others, and is no policy server itself."""

    async def sign(self, policy: PolicyServer, event: Event) -> Event:
        """Refused."""
        raise not_a_policy_server(policy.server)

    async def heard(self, so_far: Recommended, missing: MissingSignatures) -> Recommended:
        """Refused."""
        raise not_a_policy_server(missing.policy.server)


class RemotePolicyServers:
    """Other servers."""

    def __init__(
        self, requests: PolicyRequests, checks: SignatureChecks, clock: Clock, server_name: ServerName
    ) -> None:
        self._requests = requests
        self._checks = checks
        self._clock = clock
        self._server_name = server_name

    async def sign(self, policy: PolicyServer, event: Event) -> Event:
        """An event of a local user with the signature. MatrixError, for the user, if there is none to be had."""
        if policy.server == self._server_name:
            raise not_a_policy_server(policy.server)
        try:
            # Somebody waits for it, and nobody else can say yes.
            answer = await self._requests.sign(policy.server, event.json, ignore_backoff=True)
        except RemoteError as error:
            log.info(
                "a policy server did not sign an event",
                room=event.room_id,
                server=policy.server,
                sender=event.sender,
                reason=str(error),
            )
            raise _refusal(policy, error) from error
        try:
            signed = with_recommendation(event, policy, answer)
        except EventTooLarge as large:
            message = f"With the signature of the room's policy server, {large.reason}."
            raise MatrixError(413, "M_TOO_LARGE", message) from large
        if signed is None:
            log.info("a policy server signed with another key", room=event.room_id, server=policy.server)
            raise Forbidden(
                f"The policy server of this room, {policy.server}, did not sign the event with the key"
                " that the room's m.room.policy has."
            )
        return signed

    async def heard(self, so_far: Recommended, missing: MissingSignatures) -> Recommended:
        """What was said so far, and what they say to these events too. MatrixError where a local user's is refused."""
        policy, events, draft = missing.policy, missing.events, missing.draft
        if draft is not None:
            signed = [Opinion(policy, await self.sign(policy, event)) for event in events]
            return so_far.and_also(signed, draft)
        signed_already = await self._checks.all([partial(is_recommended, event, policy) for event in events])
        unsigned = [event for event, is_signed in zip(events, signed_already, strict=True) if not is_signed]
        so_far = so_far.and_also(
            [Opinion(policy, event) for event, is_signed in zip(events, signed_already, strict=True) if is_signed]
        )
        if not missing.asks:
            return so_far.and_also([Opinion(policy, event, is_asked=False) for event in unsigned])
        until_s = self._clock.monotonic_s() + PATIENCE_S
        work = [Deferred.fromCoroutine(self._opinion(policy, event, until_s)) for event in unsigned]
        return so_far.and_also(cast("list[Opinion]", await gatherResults(work, consumeErrors=True)))

    async def _opinion(self, policy: PolicyServer, event: Event, until_s: float) -> Opinion:
        """What is said to an event of another server."""
        if policy.server == self._server_name:
            return Opinion(policy, event, f"{policy.server} is not a policy server")
        left_s = max(0.0, until_s - self._clock.monotonic_s())
        try:
            asking = self._requests.sign(policy.server, event.json, ignore_backoff=False)
            signed = with_recommendation(event, policy, await within(self._clock, left_s, asking))
        except RemoteRefused as refusal:
            return Opinion(policy, event, f"{policy.server} says: {refusal.error[:300] or refusal.errcode or 'no'}")
        except (RemoteError, TookTooLong) as error:
            return Opinion(policy, event, f"it lacks the signature of the policy server: {error}")
        except EventTooLarge:
            # It is signed, though nobody else could be told so.
            return Opinion(policy, event)
        if signed is None:
            return Opinion(policy, event, f"the signature of {policy.server} is not by the key in m.room.policy")
        return Opinion(policy, signed)


def not_a_policy_server(server: str) -> MatrixError:
    """What a server says that is none. POST /_matrix/policy/v1/sign, 404."""
    return MatrixError(404, "M_UNRECOGNIZED", f"{server} is not a policy server.")


def _refusal(policy: PolicyServer, error: RemoteError) -> MatrixError:
    """What the policy server said, word for word where it is an answer that POST /sign has."""
    if isinstance(error, RemoteRefused) and error.status in (400, 403, 404, 429):
        errcode = error.errcode or "M_FORBIDDEN"
        if errcode in ABOUT_THE_SESSION:
            return Forbidden(error.error)
        more: JsonObject = {key: value for key, value in error.body.items() if key not in ("errcode", "error")}
        return MatrixError(error.status, errcode, error.error, **more)
    if isinstance(error, RemoteUnreachable):
        return PolicyServerAway(policy.server)
    return MatrixError(502, "M_UNKNOWN", f"The policy server of this room gave no answer that makes sense: {error}.")
