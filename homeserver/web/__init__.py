"""The HTTP machinery: from bytes on a connection to one call of an endpoint function, and from its value to an answer.

`endpoint` declares, `site` speaks HTTP, `gate` is the way of one request (match, who, limit, decode, call, encode).
Nothing in here knows what any endpoint means.
"""
