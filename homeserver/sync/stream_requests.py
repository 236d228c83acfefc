"""Conversations on the stream: who speaks, what they ask, and the answers. The deltas come from homeserver.sync.stream.

Requests for one room are carried out in the order in which they were sent: each begins once the one before it is queued
in the log, so that many of them still share a commit. The protocol is described in docs/websocket.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from twisted.internet.defer import CancelledError, Deferred

from homeserver.core import rate
from homeserver.core.canonical_json import JsonObject
from homeserver.core.filters import NO_FILTER, Filter, FilterError
from homeserver.core.ids import EventId, InvalidId, RoomId, parse_event_id, parse_room_id
from homeserver.core.receipts import BadReceipt, check_receipt_type, parse_thread_id
from homeserver.rooms.receipts import Receipts
from homeserver.rooms.send import Sending
from homeserver.rooms.typing import Typing
from homeserver.runtime.clock import Clock
from homeserver.runtime.wheel import Wheel
from homeserver.sync import stream_frames as frames
from homeserver.sync.asking import Asking
from homeserver.sync.stream import Pump, Streams, Subscription
from homeserver.users.presence import Presence
from homeserver.web.access import Requester, TokenResolver, hash_token
from homeserver.web.errors import Forbidden, InvalidParam, MatrixError, Unavailable
from homeserver.web.limits import Limiter
from storage.database import DatabaseUnavailable

AUTH_WITHIN_S: Final = 10.0
EXPIRY_STEP_S: Final = 2.0
"""So much later than its token expires a stream may end."""
MOST_UNDER_WAY: Final = 256
"""Requests of one connection that are carried out at a time; more wait in its socket."""

NOT_A_FRAME: Final = 1003
TOO_LARGE: Final = 1009
UNKNOWN_TOKEN: Final = 4401
SILENT: Final = 4408
EXPIRED_TOKEN: Final = 4419

log: Final = structlog.get_logger("homeserver.stream")

Work = Callable[[Callable[[], None]], Awaitable[JsonObject]]
"""Carries a request out; is given what to call once the next of the room may begin."""


class Wire(Protocol):
    """The socket of a conversation."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The client's frames."""
        ...

    def send(self, message: bytes) -> None:
        """Send a text frame."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close with a code."""
        ...

    async def writable(self) -> None:
        """Return once the transport takes more."""
        ...


@dataclass(frozen=True, slots=True)
class StreamServices:
    """Whom conversations turn to."""

    streams: Streams
    asking: Asking
    sending: Sending
    typing: Typing
    receipts: Receipts
    presence: Presence
    tokens: TokenResolver
    limiter: Limiter
    clock: Clock


class Conversations:
    """All conversations of this process."""

    def __init__(self, services: StreamServices) -> None:
        self._services = services
        self._read = frames.FrameReader()
        self._by_device: dict[int, set[Conversation]] = {}
        self._wheel = Wheel(EXPIRY_STEP_S)
        """Devices of which a token will expire that a conversation began with. The others cost nothing."""

    async def hold(self, who: Requester | None, wire: Wire) -> None:
        """Speak with a client until it goes."""
        conversation = Conversation(self._services, self._read, wire, self._entered)
        if who is not None:
            conversation.enter(who)
        timer = self._services.clock.call_later(AUTH_WITHIN_S, conversation.must_have_entered)
        try:
            async for frame in wire:
                await conversation.take(frame)
        finally:
            timer.cancel()
            conversation.end()
            self._left(conversation)

    def revoked(self, device: int) -> None:
        """The tokens of a device hold no more (`Tokens.on_revoked`)."""
        for conversation in tuple(self._by_device.get(device, ())):
            conversation.close(UNKNOWN_TOKEN, "the access token was logged out")

    async def end_expired(self) -> None:
        """Close what was opened with a token that has expired. To be called every EXPIRY_STEP_S seconds."""
        now_ms = self._services.clock.now_ms()
        for device in self._wheel.due(now_ms / 1000):
            for conversation in tuple(self._by_device.get(int(device), ())):
                expires_ms = None if conversation.who is None else conversation.who.expires_ms
                if expires_ms is None:
                    continue
                if expires_ms > now_ms:
                    self._wheel.at(device, expires_ms / 1000)
                else:
                    conversation.close(EXPIRED_TOKEN, "the access token has expired")

    def _entered(self, conversation: Conversation, who: Requester) -> None:
        self._by_device.setdefault(who.device_number, set()).add(conversation)
        if who.expires_ms is not None:
            self._wheel.at(str(who.device_number), who.expires_ms / 1000)

    def _left(self, conversation: Conversation) -> None:
        if conversation.who is not None:
            device = conversation.who.device_number
            here = self._by_device.get(device, set())
            here.discard(conversation)
            if not here:
                self._by_device.pop(device, None)


class Conversation:
    """One client on one socket. Also the sink of its deltas."""

    def __init__(
        self,
        services: StreamServices,
        read: frames.FrameReader,
        wire: Wire,
        entered: Callable[[Conversation, Requester], None],
    ) -> None:
        self._services = services
        self._read = read
        self._wire = wire
        self._entered = entered
        self._pump: Pump | None = None
        self._tails: dict[str, Deferred[None]] = {}
        """The last request of each room: fires once the next may begin."""
        self._under_way = 0
        self._space: Deferred[None] | None = None
        self._ended = False
        self._is_present = False
        """Whether it counts for the user's presence."""
        self.who: Requester | None = None

    def enter(self, who: Requester) -> None:
        """The client has shown who it is; it may do so again, with another token of the device."""
        self.who = who
        self._entered(self, who)

    def must_have_entered(self) -> None:
        """The time for that is over."""
        if self.who is None:
            self.close(SILENT, "the first frame must be auth, within 10 seconds")

    async def take(self, text: bytes) -> None:
        """A frame has come. Returns once another one may."""
        if len(text) > frames.MAX_FRAME_BYTES:
            self.close(TOO_LARGE, f"a frame may have {frames.MAX_FRAME_BYTES} bytes")
            return
        try:
            frame = self._read(text)
        except frames.NotAFrame:
            self.close(NOT_A_FRAME, "each frame must be a JSON object")
            return
        except MatrixError as error:
            self._wire.send(frames.refusal(self._read.id_of(text), error))
            return
        if isinstance(frame, frames.Auth):
            await self._authenticate(frame)
        elif self.who is None:
            self.close(UNKNOWN_TOKEN, "the first frame must be auth")
        elif isinstance(frame, frames.Ping):
            self._wire.send(frames.answer(frame.id))
        elif isinstance(frame, frames.Ack):
            # On the way of every delta: the usual case goes without a coroutine of its own.
            waiting = self._acknowledge(frame)
            if waiting is not None:
                await self._answer(frame.id, waiting)
        elif isinstance(frame, frames.Subscribe):
            await self._answer(frame.id, self._subscribe(self.who, frame))
        else:
            await self._begin(self.who, frame)

    def end(self) -> None:
        """The socket is closed."""
        self._ended = True
        if self.who is not None:
            self._services.streams.gone(self.who.device_number, self)
            self._absent(self.who)

    # The sink of deltas

    def send(self, frame: bytes) -> None:
        """Send a delta."""
        self._wire.send(frame)

    def close(self, code: int, reason: str) -> None:
        """Close the socket."""
        self._wire.close(code, reason)

    async def writable(self) -> None:
        """Return once the transport takes more."""
        await self._wire.writable()

    # Requests

    async def _authenticate(self, frame: frames.Auth) -> None:
        token_hash = hash_token(frame.access_token)
        tokens = self._services.tokens
        try:
            who = tokens.cached(token_hash) or await tokens.resolve(token_hash)
        except MatrixError as error:
            if error.extra.get("soft_logout"):
                self.close(EXPIRED_TOKEN, "the access token has expired")
            else:
                self.close(UNKNOWN_TOKEN, "this access token is not known here")
            return
        if self.who is not None and (self.who.device_number, self.who.user_id) != (who.device_number, who.user_id):
            self.close(UNKNOWN_TOKEN, "this connection belongs to another device")
            return
        self.enter(who)
        self._wire.send(frames.answer(frame.id, {"user_id": who.user_id, "device_id": who.device_id}))

    def _acknowledge(self, frame: frames.Ack) -> Awaitable[JsonObject | None] | None:
        """The client has dealt with its deltas up to a position. What is left to be awaited, None if nothing is."""
        try:
            position = self._services.asking.position(frame.position)
        except MatrixError as error:
            self._wire.send(frames.refusal(frame.id, error))
            return None
        waiting = None if self._pump is None or position is None else self._pump.acknowledge(position)
        if waiting is not None or frame.id is not None:
            return _after(waiting, frame.id)
        return None

    async def _subscribe(self, who: Requester, frame: frames.Subscribe) -> JsonObject | None:
        asking = self._services.asking
        if not who.device_number:
            raise Forbidden("Only a device can subscribe.")
        since = asking.position(frame.since)
        wanted = await self._filter(who, frame.filter)
        # The answer comes before the first delta.
        self._wire.send(frames.answer(frame.id))
        what = Subscription(who.user_id, who.device_number, since, wanted, frame.use_state_after)
        if not self._ended:
            self._be_present(who, frame.set_presence)
        self._pump = self._services.streams.subscribe(self, what)
        return None

    def _be_present(self, who: Requester, says: str) -> None:
        if self._services.presence.enabled:
            self._services.presence.begin(who.user_id, who.device_number, says)
            self._absent(who)
            self._is_present = True

    def _absent(self, who: Requester) -> None:
        if self._is_present:
            self._is_present = False
            self._services.presence.end(who.user_id, who.device_number)

    async def _filter(self, who: Requester, given: str | JsonObject | None) -> Filter:
        if not given:
            return NO_FILTER
        if isinstance(given, str):
            return await self._services.asking.filter(who.user_id, given)
        try:
            return Filter.parse(given)
        except FilterError as error:
            raise InvalidParam(f"The filter is not valid: {error}") from None

    async def _begin(self, who: Requester, frame: frames.InRoom) -> None:
        """Have a request carried out after those of its room that came before it."""
        try:
            if isinstance(frame, (frames.Send, frames.State, frames.Redact)) and is_limited(who):
                self._services.limiter.spend(rate.MESSAGE, who.user_id)
            work = self._work(who, frame, _room_id(frame.room_id))
        except MatrixError as error:
            self._wire.send(frames.refusal(frame.id, error))
            return
        self._under_way += 1
        Deferred.fromCoroutine(self._answer(frame.id, self._in_turn(frame.room_id, work))).addBoth(self._done)
        if self._under_way >= MOST_UNDER_WAY:
            self._space = Deferred()
            await self._space

    def _done(self, _result: object) -> None:
        self._under_way -= 1
        space, self._space = self._space, None
        if space is not None:
            space.callback(None)

    async def _in_turn(self, room_id: str, work: Work) -> JsonObject:
        before = self._tails.get(room_id)
        mine: Deferred[None] = Deferred()
        self._tails[room_id] = mine

        def next_may_begin() -> None:
            if self._tails.get(room_id) is mine:
                del self._tails[room_id]
            if not mine.called:
                mine.callback(None)

        try:
            if before is not None:
                await before
            return await work(next_may_begin)
        finally:
            next_may_begin()

    async def _answer(self, frame_id: frames.FrameId | None, request: Awaitable[JsonObject | None]) -> None:
        try:
            more = await request
            if more is not None:
                self._wire.send(frames.answer(frame_id, more))
        except CancelledError:
            raise
        except MatrixError as error:
            self._wire.send(frames.refusal(frame_id, error))
        except DatabaseUnavailable:
            self._wire.send(frames.refusal(frame_id, Unavailable()))
        except Exception:  # whatever it is, the client gets an answer and the log the rest
            log.exception("a request on the stream failed")
            mistake = MatrixError(500, "M_UNKNOWN", "The server made a mistake; its log has more.")
            self._wire.send(frames.refusal(frame_id, mistake))

    def _work(self, who: Requester, frame: frames.InRoom, room_id: RoomId) -> Work:
        services, device = self._services, who.device_number or None
        if isinstance(frame, frames.Send):
            return lambda queued: _event(
                services.sending.message(
                    who.user_id, room_id, frame.type, frame.content, device=device, txn_id=frame.txn_id, queued=queued
                )
            )
        if isinstance(frame, frames.State):
            return lambda queued: _event(
                services.sending.state(
                    who.user_id, room_id, frame.type, frame.state_key, frame.content, device=device, queued=queued
                )
            )
        if isinstance(frame, frames.Redact):
            reason: JsonObject = {} if frame.reason is None else {"reason": frame.reason}
            target = _event_id(frame.event_id)
            return lambda queued: _event(
                services.sending.redact(
                    who.user_id, room_id, target, reason, device=device, txn_id=frame.txn_id, queued=queued
                )
            )
        if isinstance(frame, frames.Typing):
            return lambda queued: _nothing(
                services.typing.set(who.user_id, room_id, typing=frame.typing, timeout_ms=frame.timeout)
            )
        thread_id = _thread_of(frame)
        marks = {frame.type: _event_id(frame.event_id)}
        return lambda queued: _nothing(services.receipts.mark(who.user_id, room_id, marks, thread_id=thread_id))


def is_limited(who: Requester) -> bool:
    """Whether rate limits hold, as over HTTP: not for admins, nor for bridges, which speak for many."""
    return who.appservice_id is None and not who.is_admin


async def _event(sent: Awaitable[EventId]) -> JsonObject:
    return {"event_id": await sent}


async def _nothing(done: Awaitable[None]) -> JsonObject:
    await done
    return {}


def _room_id(text: str) -> RoomId:
    try:
        return parse_room_id(text)
    except InvalidId as invalid:
        raise InvalidParam(f"room_id is not valid: {invalid}.") from None


def _event_id(text: str) -> EventId:
    try:
        return parse_event_id(text)
    except InvalidId as invalid:
        raise InvalidParam(f"event_id is not valid: {invalid}.") from None


def _thread_of(frame: frames.Receipt) -> str | None:
    try:
        check_receipt_type(frame.type)
        return None if frame.thread_id is None else parse_thread_id(frame.type, {"thread_id": frame.thread_id})
    except BadReceipt as bad:
        raise InvalidParam(str(bad)) from None


async def _after(waiting: Awaitable[None] | None, frame_id: frames.FrameId | None) -> JsonObject | None:
    """Wait, then answer where the request had an id."""
    if waiting is not None:
        await waiting
    return {} if frame_id is not None else None
