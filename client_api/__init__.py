"""The doors for clients, a file a chapter of the client-server API: each a few lines that call a service."""
