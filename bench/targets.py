"""What Myelin is to reach: for a figure, a limit of its own or a share of what the other server takes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """One limit for one figure.

    `share`: at most this part of the other server's value. `below`: less than the same figure of that scenario.
    """

    scenario: str
    figure: str
    at_most: float | None = None
    at_least: float | None = None
    share: float | None = None
    below: str | None = None


TARGETS = (
    Target("send", "messages a second", at_least=1000),
    Target("send", "CPU per message", share=1 / 30),
    Target("send", "server CPU per message", at_most=0.6),
    Target("send_one_room", "CPU per message", share=1 / 30),
    Target("fanout, long poll, 0.5/s", "CPU per delivery", share=1 / 25),
    Target("fanout, long poll, 10/s", "latency, 99 of 100", at_most=100),
    Target("fanout, WebSocket, 30/s", "latency, 99 of 100", at_most=100),
    Target("fanout, WebSocket, 10/s", "CPU per delivery", below="fanout, long poll, 10/s"),
    Target("sync_initial", "CPU per sync", share=1 / 20),
    Target("sync_incremental", "CPU per sync", share=1 / 25),
    Target("idle, long poll", "memory per waiting client", at_most=30),
    Target("idle, WebSocket", "memory per waiting client", at_most=30),
    Target("messages", "CPU per page of 100", share=1 / 15),
    Target("big_room, 500", "CPU per join", share=1 / 30),
    Target("big_room, 5000", "CPU per join", share=1 / 30),
    Target("big_room, 5000", "CPU per list of members", share=1 / 10),
    Target("big_room, 5000", "messages a second", at_least=1000),
    Target("big_room, 5000", "CPU per message", share=1 / 30),
    Target("big_room, 5000", "server CPU per message", at_most=0.6),
    Target("federation, 10/s", "CPU per message on both servers", share=1 / 25),
    Target("federation, burst", "CPU per message on both servers", share=1 / 25),
    # Twenty times the 15 a second that Synapse was measured at.
    Target("federation, burst", "messages a second, until the other server has told them", at_least=300),
    Target("federation, join of 500 members and 3000 events", "CPU on both servers", share=1 / 8),
    Target("keys, upload 50 and a device", "CPU per upload", share=1 / 15),
    Target("keys, look up 200 users", "CPU per query", share=1 / 15),
    Target("keys, claim from 200 devices", "CPU per claim", share=1 / 15),
    Target("keys, message to 200 devices", "CPU per request", share=1 / 15),
    Target("keys, all uploads and one of the others each", "CPU", share=1 / 15),
    Target("disk", "bytes per message", at_most=1500),
    Target("disk", "bytes per state event in a large room", share=1 / 50),
    Target("crash", "acknowledged events lost", at_most=0),
    Target("crash", "events twice", at_most=0),
    Target("crash", "events out of order", at_most=0),
    Target("crash", "restarts needed after the loss of the database", at_most=0),
    Target("ready", "time to the first answer", at_most=3),
)
