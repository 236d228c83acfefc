"""The one log: its writer and the ring of its recent entries.

The writer gathers whatever waits, writes everything in one transaction (group commit), publishes the entries in
order to the ring, and only then answers those who wait. Followers with a durable cursor are in
homeserver.runtime.follow.
"""

from homeserver.runtime.ring import Ring
from homeserver.runtime.writer import AppendFailed, Writer

__all__ = ["AppendFailed", "Ring", "Writer"]
