"""The rules of Matrix as pure functions on immutable values: no I/O, no clock, no Twisted."""
