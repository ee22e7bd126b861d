"""The programs on chain: C source, the tool chain that builds it, and what it built."""
