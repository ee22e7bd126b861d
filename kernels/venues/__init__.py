"""Margin, liquidation and PnL as other venues compute them, each to its own units and roundings.

One module per venue. Nothing here decides about GoDark's books: it answers what the same account would have
been asked for elsewhere. Amounts lie within +-(2**63 - 1); what leaves that range is a status, never a wrap.
"""
