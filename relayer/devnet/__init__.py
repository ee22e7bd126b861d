"""The embedded chain: LiteSVM served as a Solana RPC node on loopback. Not for production."""
