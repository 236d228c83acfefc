"""The settings of Myelin's own PostgreSQL: safe first, then right for one homeserver on a modest machine."""

from __future__ import annotations

USER = "myelin"
DATABASE = "myelin"
ADMIN_CONF = (
    "# Settings of PostgreSQL that the admin of this server wants otherwise. After a change: ./synctl restart\n"
)

_SETTINGS = (
    ("# Nobody but Myelin talks to it: a socket for its owner, no network.", ()),
    (
        "",
        (("listen_addresses", "''"), ("port", "5432"), ("unix_socket_permissions", "0700"), ("max_connections", "120")),
    ),
    ("# An answer of 200 means that it is on the disk.", ()),
    ("", (("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on"))),
    ("# No standby reads from it, so the log holds only what a recovery needs.", ()),
    ("", (("wal_level", "minimal"), ("max_wal_senders", "0"), ("max_replication_slots", "0"))),
    ("# Few, large checkpoints, spread out.", ()),
    (
        "",
        (("checkpoint_timeout", "15min"), ("max_wal_size", "2GB"), ("min_wal_size", "128MB"), ("wal_buffers", "16MB")),
    ),
    ("# Memory. What is read often is in the system's cache as well.", ()),
    ("", (("shared_buffers", "128MB"), ("effective_cache_size", "1GB"), ("work_mem", "8MB"))),
    ("", (("maintenance_work_mem", "64MB"), ("autovacuum_work_mem", "64MB"))),
    ("# Short statements: compiling them or splitting them over processes costs more than it saves.", ()),
    ("", (("jit", "off"), ("max_parallel_workers_per_gather", "0"), ("io_method", "sync"))),
    ("# Solid-state disks.", ()),
    ("", (("random_page_cost", "1.1"),)),
    ("# Tables that mostly grow: look after them before a fifth of a large one has changed.", ()),
    ("", (("autovacuum_vacuum_scale_factor", "0.05"), ("autovacuum_analyze_scale_factor", "0.02"))),
    ("", (("autovacuum_vacuum_insert_scale_factor", "0.1"), ("autovacuum_vacuum_cost_limit", "1000"))),
    ("# A transaction that was forgotten must not hold back the clean-up for ever.", ()),
    ("", (("idle_in_transaction_session_timeout", "10min"),)),
    ("# The log goes to DIR/postgres.log.", ()),
    (
        "",
        (
            ("logging_collector", "off"),
            ("log_destination", "'stderr'"),
            ("log_timezone", "'UTC'"),
            ("timezone", "'UTC'"),
        ),
    ),
    ("", (("log_min_duration_statement", "2s"), ("log_checkpoints", "off"), ("log_line_prefix", "'%m [%p] '"))),
)


def postgresql_conf() -> str:
    """The text of postgresql.conf; it is written anew at each start, admin.conf beside it is the admin's."""
    lines = ["# Written by Myelin at each start. Settings of your own go into admin.conf beside this file, and win."]
    for comment, settings in _SETTINGS:
        lines += [f"\n{comment}"] if comment else []
        lines += [f"{name} = {value}" for name, value in settings]
    return "\n".join([*lines, "\ninclude_if_exists 'admin.conf'", ""])
