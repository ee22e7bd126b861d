"""Keys, and nothing else. What is signed is decided elsewhere."""
