"""The risk process: a follower that sweeps every margin and proposes liquidations. The engine decides."""
