"""The engine: a deterministic state machine over a durable journal, and its followers."""
