"""Every door for other servers, asked by one that signs whatever it sends: never an error of ours, and no harm done.

The doors are those that are declared, so a new one is covered as soon as it is there.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

import pytest
from hypothesis import given

from homeserver.web.endpoint import Access, Endpoint
from tests.federated import Federated
from tests.fuzz.doors import declared, examples, name_of, requests_to
from tests.fuzz.shapes import Known
from tests.stranger import Stranger
from tests.wire import Json

EXAMPLES: Final = 40
FOR_SERVERS: Final = [
    each
    for each in declared()
    if each.declaration.path.startswith(("/_matrix/federation/", "/_matrix/key/", "/_matrix/policy/"))
]

ASK_OTHERS: Final = ("/_matrix/federation/v1/3pid/onbind",)
"""Doors behind which a server is asked that the request names."""
PASSED_ON: Final = (502, 504)
"""It could not be asked: the one who sent the request may try again."""

number = itertools.count()


class Guest:
    """The stranger in a room, with another that its user left, and one that it never was in."""

    def __init__(self, server: Federated, stranger: Stranger, version: str = "12") -> None:
        self.server = server
        self.stranger = stranger
        self.host = server.cast(f"host{next(number)}")
        self.user = stranger.user("guest")
        made: Json = {"preset": "public_chat", "room_version": version}
        self.room, self.left, self.closed = (self.host.creates_room(**made) for _ in range(3))
        self.visit = stranger.joins(server.server_name, self.room, self.user)
        past = stranger.joins(server.server_name, self.left, self.user)
        gone = past.build(self.user, "m.room.member", {"membership": "leave"}, self.user)
        assert past.sends(gone) == {gone.event_id: {}}
        said, elsewhere = self.host.says(self.room, "hello"), self.host.says(self.closed, "not for guests")
        alias = f"#door{next(number)}-{self.host.localpart}:{server.server_name}"
        self.host.asks("PUT", "directory", "room", alias, body={"room_id": self.room})
        here = server.server_name
        self.known = Known(
            {
                "room": [self.room, self.left, self.closed, "!unknown:elsewhere.example", "!" + "A" * 43],
                "user": [self.user, self.host.user_id, f"@nobody:{here}", "@someone:elsewhere.example"],
                "mxid": [self.host.user_id, self.user, f"@nobody:{here}"],
                "event": [said, elsewhere, gone.event_id, "$" + "A" * 43, "$old:elsewhere.example"],
                "v": [said, elsewhere, gone.event_id, "$" + "A" * 43],
                "ver": ["12", "1", "99"],
                "version": ["12", "1", "99"],
                "room_alias": [alias, f"#none:{here}", "#some:elsewhere.example"],
                "device": [self.host.device_id, "NOSUCH"],
                "server": [here, stranger.name, "elsewhere.example:99999"],
                "limit": ["5", "0", "-1", "100000000000", "x"],
                "ts": ["1000", "0", "-1", "99999999999999999999"],
                "dir": ["f", "b", "x"],
                "field": ["displayname", "none"],
                "txn": ["t1", "t2"],
            },
            {},
        )

    def is_well(self) -> None:
        """The room is as it was: both sides are heard in it, and the guest reads what it may."""
        mine = self.visit.says(self.user, "still here")
        assert self.visit.sends(mine) == {mine.event_id: {}}
        self.visit.saw(mine)
        theirs = self.host.says(self.room, "so are we")
        said = {each["event_id"] for each in self.host.whole_history(self.room)}
        assert {mine.event_id, theirs} <= said
        status, answer = self.stranger.reads(self.server.server_name, "event", theirs)
        assert status == 200, answer


@pytest.mark.parametrize("endpoint", FOR_SERVERS, ids=name_of)
def test_a_door_answers_everything_that_a_server_signs(
    server: Federated, stranger: Stranger, endpoint: Endpoint
) -> None:
    guest = Guest(server, stranger)
    heard: set[int] = set()
    passed_on = PASSED_ON if endpoint.declaration.path in ASK_OTHERS else ()

    @examples(EXAMPLES)
    @given(request=requests_to(endpoint, guest.known))
    def answers(request: Any) -> None:
        status, answer = stranger.asks_raw(server.server_name, request.method, request.path, request.body)
        heard.add(status)
        assert status < 500 or status in passed_on, f"{request} was answered with {status} {answer}"
        if status >= 400:
            assert isinstance(answer.get("errcode"), str), f"{request} was answered with {answer}"
            assert isinstance(answer.get("error"), str), f"{request} was answered with {answer}"

    answers()
    if endpoint.declaration.access is Access.SERVER:
        assert heard != {401}, "the requests must get past the signature"
    guest.is_well()
