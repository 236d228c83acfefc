"""Doors for other servers."""
