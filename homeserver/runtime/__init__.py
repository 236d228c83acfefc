"""What every part runs on: clock, tasks, logs, metrics, caches, and the log of entries with its followers."""
