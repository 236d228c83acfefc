"""Requests to other servers: where they are, how they are asked, which keys they sign with."""
