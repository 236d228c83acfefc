"""The parts of a server, made in order: each group takes what stands above it.

Only homeserver.app and these modules know all parts. The order matters where followers of the ring build on each other:
the event cache first, then memberships, then those who wake and answer readers.
"""
