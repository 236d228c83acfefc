"""Accounts of this server and what belongs to them: passwords, devices, tokens, profiles, data kept for clients."""
