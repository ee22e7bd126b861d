"""One module per family of data; each has a list FAMILIES. A new module is found by itself."""
