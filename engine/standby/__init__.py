"""The standby: a follower that writes the snapshots, and takes the engine's place when it dies."""
