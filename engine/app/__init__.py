"""The composition root: command line, supervisor, checks. It imports everything, nothing imports it."""
