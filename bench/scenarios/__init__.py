"""The scenarios by name, in the order in which they run: what makes small rooms first, what fills large ones last."""

from bench.figures import Scenario
from bench.scenarios import (
    big_room,
    crash,
    disk,
    e2e_keys,
    fanout,
    federation,
    idle,
    login,
    messages,
    ready,
    send,
    send_one_room,
    sync,
)

SCENARIOS: dict[str, Scenario] = {
    "send": send.run,
    "send_one_room": send_one_room.run,
    "fanout": fanout.run,
    "sync_initial": sync.run_initial,
    "sync_incremental": sync.run_incremental,
    "idle": idle.run,
    "messages": messages.run,
    "login": login.run,
    "big_room": big_room.run,
    "disk": disk.run,
    "e2e_keys": e2e_keys.run,
    "ready": ready.run,
    "crash": crash.run,
    "federation": federation.run,
}
# What other servers are not put through unless it is asked for by name: it compares nothing.
ONLY_OURS = frozenset({"crash"})
