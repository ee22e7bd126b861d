"""The state machine: sans-IO, total, deterministic. Frames in; state, results, legs, witness out."""
