"""The durable journal: segments of 64-byte slots, one writer, any number of readers."""
