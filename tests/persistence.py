"""Messages to devices that are sent and read until they are through, while servers are killed."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException

from tests.cast import Device, Refused
from tests.servers import Myelin
from tests.sync_answer import Synced
from tests.wire import Json


def sends(sender: Device, to: Device, number: int, txn_id: str | None = None) -> None:
    messages = {to.user_id: {to.device_id: {"n": number}}}
    sender.asks("PUT", "sendToDevice", "m.test", txn_id or f"{number}", body={"messages": messages})


def numbers(answer: Synced) -> list[int]:
    return [event["content"]["n"] for event in answer.to_device]


def persistently(do: object, *arguments: Json) -> Json:
    """Do it again and again until the server takes it, with the same transaction id."""
    until_s = time.monotonic() + 60
    while True:
        try:
            return do(*arguments)  # type: ignore[operator]  # any function
        except (OSError, HTTPException, Refused) as error:
            assert time.monotonic() < until_s, error
            if isinstance(error, Refused) and error.status < 500:
                raise
            threading.Event().wait(0.05)


@contextlib.contextmanager
def killed_now_and_then(servers: Sequence[Myelin], *, times: int, seed: int) -> Iterator[None]:
    """Meanwhile one of the servers is killed and started again, so many times at most."""
    is_over = threading.Event()

    def kill() -> None:
        rng = random.Random(seed)
        for _ in range(times):
            if is_over.wait(rng.uniform(0.1, 0.4)):
                return
            server = rng.choice(servers)
            server.kill()
            server.start()

    killing = threading.Thread(target=kill)
    killing.start()
    try:
        yield
    finally:
        is_over.set()
        killing.join()


@contextlib.contextmanager
def sends_all(sender: Device, to: Device, count: int) -> Iterator[None]:
    """Meanwhile so many messages are sent, each until the server has taken it; they are all through afterwards."""

    def send() -> None:
        for number in range(count):
            persistently(sends, sender, to, number)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        yield
    finally:
        sending.join()
