from __future__ import annotations

import numpy as np

from engine.venue.noise import below, draws, seeded_keys, splitmix64


def test_splitmix64_is_the_published_generator() -> None:
    # First outputs of splitmix64 seeded with 1234567, as its reference implementation prints them.
    state = (1234567 + 0x9E3779B97F4A7C15 * np.arange(5, dtype=object)) % (1 << 64)
    assert splitmix64(state.astype(np.uint64)).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_draws_depend_on_seed_stream_and_index_alone() -> None:
    index = np.arange(1000)
    whole = draws(7, 1, index)
    assert np.array_equal(whole[500:], draws(7, 1, index[500:]))
    for other in (draws(8, 1, index), draws(7, 2, index)):
        assert not (whole == other).any()


def test_below_covers_its_range_evenly() -> None:
    counts = np.bincount(below(draws(1, 1, np.arange(70_000)), 7))
    assert len(counts) == 7
    assert abs(counts - 10_000).max() < 500


def test_seeded_keys_are_distinct() -> None:
    assert len(set(seeded_keys(1, 1, 500))) == 500
