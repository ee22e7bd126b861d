"""The relayer: follows the journal, proves every fill, settles net positions on Solana."""
