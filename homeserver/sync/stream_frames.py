"""What a client may say on the stream: one struct for each `op`. The protocol is described in docs/websocket.md."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.web.decode import BodyDecoder, ObjectField, ValueField
from homeserver.web.errors import BadJson, BadRequest, MatrixError, MissingParam, NotJson

MAX_FRAME_BYTES: Final = 128 * 1024
FrameId = str | int


class Auth(msgspec.Struct, frozen=True, tag_field="op", tag="auth"):
    """Who I am."""

    id: FrameId
    access_token: str


class Subscribe(msgspec.Struct, frozen=True, tag_field="op", tag="subscribe"):
    """Send me what is new since a position, from now on."""

    id: FrameId
    since: str | None = None
    filter: str | ObjectField | None = None
    use_state_after: bool = False
    set_presence: Literal["online", "offline", "unavailable"] = "online"


class Ack(msgspec.Struct, frozen=True, tag_field="op", tag="ack"):
    """I have dealt with all deltas up to this one."""

    position: str
    id: FrameId | None = None


class Send(msgspec.Struct, frozen=True, tag_field="op", tag="send"):
    """Send a message event."""

    id: FrameId
    room_id: str
    type: str
    txn_id: str
    content: ObjectField


class State(msgspec.Struct, frozen=True, tag_field="op", tag="state"):
    """Set a piece of state."""

    id: FrameId
    room_id: str
    type: str
    content: ObjectField
    state_key: str = ""


class Redact(msgspec.Struct, frozen=True, tag_field="op", tag="redact"):
    """Redact an event."""

    id: FrameId
    room_id: str
    event_id: str
    txn_id: str
    reason: str | None = None


class Typing(msgspec.Struct, frozen=True, tag_field="op", tag="typing"):
    """I type, or not any more; `timeout` in milliseconds."""

    id: FrameId
    room_id: str
    typing: bool
    timeout: int = 30_000


class Receipt(msgspec.Struct, frozen=True, tag_field="op", tag="receipt"):
    """I have read up to an event."""

    id: FrameId
    room_id: str
    event_id: str
    type: str = "m.read"
    thread_id: str | None = None


class Ping(msgspec.Struct, frozen=True, tag_field="op", tag="ping"):
    """Are you there?"""

    id: FrameId


InRoom = Send | State | Redact | Typing | Receipt
Frame = Auth | Subscribe | Ack | Ping | InRoom


_KINDS: Final[tuple[type[Frame], ...]] = (Auth, Subscribe, Ack, Send, State, Redact, Typing, Receipt, Ping)


class NotAFrame(Exception):
    """This is no JSON object."""


class _Head(msgspec.Struct):
    op: ValueField = None
    id: ValueField = None


class FrameReader:
    """Reads frames."""

    def __init__(self) -> None:
        self._heads = msgspec.json.Decoder(_Head)
        self._decoders = {str(kind.__struct_config__.tag): BodyDecoder(kind) for kind in _KINDS}

    def __call__(self, text: bytes) -> Frame:
        """The request in a frame. NotAFrame, or MatrixError for an object that makes no sense."""
        if text.lstrip()[:1] != b"{":
            raise NotAFrame
        try:
            op = self._heads.decode(text).op
        except RecursionError:
            raise BadJson("The frame is nested too deeply.") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise NotAFrame from None
        if op is None:
            raise MissingParam("A frame needs an op.")
        decoder = self._decoders.get(op) if isinstance(op, str) else None
        if decoder is None:
            raise BadRequest("There is no such op.", "M_UNRECOGNIZED")
        try:
            frame = decoder(text)
        except NotJson:
            raise NotAFrame from None
        if frame is None:
            raise NotAFrame
        return frame

    def id_of(self, text: bytes) -> FrameId | None:
        """The id in a frame that could not be read."""
        try:
            found = self._heads.decode(text).id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return found if isinstance(found, str) or type(found) is int else None


def answer(frame_id: FrameId | None, more: JsonObject | None = None) -> bytes:
    """The answer to a request."""
    return msgspec.json.encode({"id": frame_id, **(more or {})})


def refusal(frame_id: FrameId | None, error: MatrixError) -> bytes:
    """The refusal of a request, with the error codes of HTTP."""
    return msgspec.json.encode({"id": frame_id, "errcode": error.errcode, "error": error.message, **error.extra})
