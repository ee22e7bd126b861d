"""Stand-ins for the matching engine: recorded trades, a seeded simulator, observations made from both."""
