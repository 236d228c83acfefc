"""What clients hear of: the answer of /sync and the stream over WebSocket, both computed from the one log."""
