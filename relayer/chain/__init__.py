"""Talking to Solana: JSON-RPC, messages, subscriptions."""
