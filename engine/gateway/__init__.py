"""The way in and out of the engine: sessions, the server, and a client for drivers and matching engines."""
