"""How much of large answers may be put down at a time: of all servers together, and of each of them."""

from __future__ import annotations


class NoSpace(Exception):
    """Too much is put down already. Another time there may be space."""


class Space:
    """Bytes that may be in use."""

    def __init__(self, total_bytes: int, bytes_per_key: int) -> None:
        self._free_bytes = total_bytes
        self._bytes_per_key = bytes_per_key
        self._in_use: dict[str, int] = {}

    def take(self, key: str, size_bytes: int) -> None:
        """Use some more. Raises NoSpace, and then nothing is taken."""
        in_use = self._in_use.get(key, 0) + size_bytes
        if size_bytes > self._free_bytes:
            raise NoSpace("other large answers hold all the space there is for them")
        if in_use > self._bytes_per_key:
            raise NoSpace("other large answers of this server hold all the space there is for it")
        self._free_bytes -= size_bytes
        self._in_use[key] = in_use

    def give_back(self, key: str, size_bytes: int) -> None:
        """Use some less."""
        self._free_bytes += size_bytes
        left = self._in_use.get(key, 0) - size_bytes
        if left > 0:
            self._in_use[key] = left
        else:
            self._in_use.pop(key, None)
