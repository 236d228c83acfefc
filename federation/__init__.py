"""Talking to other homeservers: outbound (requests, keys) and inbound (doors)."""
