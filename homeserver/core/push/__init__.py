"""Push rules: what a user wants to be notified of.

default_rules (the rules that everybody has) → rules (a user's ruleset and its edits) → conditions and evaluate (decide
for one event) → unread (count what is not yet read). Specification: Client-Server API, "Push notifications".
"""
