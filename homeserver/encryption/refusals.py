"""From what is wrong with keys to the refusal that the specification asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from homeserver.core.device_keys import BadKeys, KeysOfAnother
from homeserver.core.signatures import BadSignature
from homeserver.web.errors import BadJson, BadRequest, InvalidParam
from storage.one_time_keys import KeyChanged


@contextmanager
def refusing_bad_keys() -> Iterator[None]:
    """Answer with 400 to keys of the wrong form (M_BAD_JSON), of others (M_INVALID_PARAM), or wrongly signed."""
    try:
        yield
    except KeysOfAnother as error:
        raise InvalidParam(str(error)) from None
    except BadKeys as error:
        raise BadJson(str(error)) from None
    except BadSignature as error:
        raise BadRequest(f"The signature does not hold: {error}.", "M_INVALID_SIGNATURE") from None


@contextmanager
def refusing_changed_keys() -> Iterator[None]:
    """Answer with 400 to another key under an id that is in use."""
    try:
        yield
    except KeyChanged as error:
        raise BadRequest(f"Another key waits as {error.key.name}: give a new key a new id.", "M_UNKNOWN") from None
