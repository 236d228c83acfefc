"""Keys for end-to-end encryption: published, looked up, given out once, signed, backed up.

Specification: client-server API, "End-to-End Encryption".
"""
