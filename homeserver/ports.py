"""Can a listener open its port? Asked before the start, so that the answer is one line and nothing half started."""

from __future__ import annotations

import socket

from config.settings import Listener


class PortTaken(Exception):
    """A listener's port cannot be had; the text says what to do."""


def check_port(listener: Listener) -> None:
    """Raise PortTaken unless a listener can open its port now."""
    family = socket.AF_INET6 if ":" in listener.bind else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((listener.bind, listener.port))
    except OSError as problem:
        raise PortTaken(
            f"cannot listen on {listener.bind} port {listener.port} ({problem.strerror}): "
            f"stop what uses it, or change it under `listeners` in the config"
        ) from problem
