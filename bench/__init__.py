"""The benchmark: what an operation costs a homeserver, in CPU, memory, disk and time, beside what it costs another.

It speaks nothing but the Matrix client-server API, so every scenario runs unchanged on any homeserver that `servers`
can start.
"""
