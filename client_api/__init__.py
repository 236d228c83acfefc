"""The doors for clients, a file a chapter of the client-server API: endpoints only, each a few lines that call a service."""
