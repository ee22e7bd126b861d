"""One account under each venue's margin rules: one module per venue, from the file's units to the kernels."""
