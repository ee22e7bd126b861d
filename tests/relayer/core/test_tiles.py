"""Which files a log of a size has, what they are called, and what is in them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.common.errors import LogDamaged, UsageError
from relayer.core.tiles import (
    ENTRIES,
    TILE_WIDTH,
    Tile,
    encode_bundle,
    entries_in,
    even_entries_in,
    grown,
    hashes_in,
    number_path,
    subtree_rows,
    tile_at,
    tile_of_path,
)

LOG = "godark.example/log/0"
sizes = st.one_of(st.integers(0, 1000), st.integers(0, 1 << 26), st.integers(0, (1 << 62) - 1))


@pytest.mark.parametrize(
    ("index", "path"),
    [(0, "000"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067"), (10**9, "x001/x000/x000/000")],
)
def test_a_number_is_groups_of_three_digits(index: int, path: str) -> None:
    assert number_path(index) == path
    with pytest.raises(UsageError):
        number_path(-1 - index)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(3, 1234067, 8), "tile/3/x001/x234/067.p/8"),
        (Tile(ENTRIES, 5), "tile/entries/005"),
        (Tile(ENTRIES, 1005, 255), "tile/entries/x001/005.p/255"),
    ],
)
def test_paths_as_the_specification_has_them(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert tile_of_path(path) == tile


@given(st.integers(ENTRIES, 63), st.integers(0, 1 << 62), st.integers(1, TILE_WIDTH))
def test_paths_read_back(level: int, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert tile_of_path(tile.path) == tile
    assert tile.full.partials + f"/{width}" == tile.path or width == TILE_WIDTH


@pytest.mark.parametrize(
    "path",
    [
        "", "tile", "tile/0", "checkpoint", "tile/0/1", "tile/00/001", "tile/64/000", "tile/-2/000", "tile/-1/000",
        "tile/0/0001", "tile/0/x000/001", "tile/0/001/002", "tile/0/x001/x002", "tile/0/000.p/0",
        "tile/0/000.p/256", "tile/0/000.p/08", "tile/0/000.p", "tile/entry/000", "/tile/0/000", "tile/0/000/",
        "tile/0/000.p/1/", "tile/0/xx01/000", "tile/0/+01", "tile/0/٠٠٠",
    ],
)  # fmt: skip
def test_other_spellings_are_no_paths(path: str) -> None:
    with pytest.raises(UsageError, match="no path of a tile"):
        tile_of_path(path)


def test_the_sizes_that_the_specification_counts() -> None:
    def widths(size: int) -> dict[int, list[int]]:
        ordered = itertools.groupby(grown(0, size), key=lambda tile: tile.level)
        return {level: [tile.width for tile in tiles] for level, tiles in ordered}

    assert widths(0) == {}
    assert widths(256) == {ENTRIES: [256], 0: [256], 1: [1]}
    assert widths(70_000) == {
        ENTRIES: [256] * 273 + [112],
        0: [256] * 273 + [112],
        1: [256, 17],
        2: [1],
    }


@given(st.integers(0, 300_000))
@example(255)
@example(65_536)
@example(65_535)
def test_all_files_of_a_size_have_the_widths_of_the_formula(size: int) -> None:
    found = list(grown(0, size))
    assert len(found) == len(set(found))
    for level in {tile.level for tile in found}:
        nodes = size >> 8 * max(level, 0)
        mine = [tile for tile in found if tile.level == level]
        assert [tile.number for tile in mine] == list(range(-(-nodes // 256)))
        assert [t.width for t in mine] == [256] * (nodes // 256) + [nodes % 256] * (nodes % 256 > 0)
        assert mine == [tile_at(level, k, size) for k in range(len(mine))]
        with pytest.raises(UsageError):
            tile_at(level, len(mine), size)
    deepest = max((tile.level for tile in found), default=-2)
    assert size >> 8 * (deepest + 1) == 0 if size else not found


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=6))
def test_growing_in_steps_gives_the_files_of_every_size(steps: list[int]) -> None:
    have: set[Tile] = set()
    before = 0
    for step in steps:
        after = before + step
        new = set(grown(before, after))
        assert not new & have, "no file is called for twice"
        have |= new
        assert set(grown(0, after)) <= have
        before = after
    assert {t for t in have if t.width == TILE_WIDTH} == {
        t for t in grown(0, before) if t.width == TILE_WIDTH
    }


@given(sizes, st.integers(0, 700))
def test_what_grows_is_only_at_the_right_edge(before: int, more: int) -> None:
    for tile in grown(before, before + more):
        reach = (tile.first + tile.width) << 8 * max(tile.level, 0)
        assert before < reach <= before + more
    with pytest.raises(UsageError):
        list(grown(before + more + 1, before))


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_entries_of_any_length_read_back(entries: list[bytes]) -> None:
    data = b"".join(encode_bundle(np.frombuffer(e, np.uint8).reshape(1, -1)) for e in entries)
    assert data == b"".join(len(e).to_bytes(2, "big") + e for e in entries)
    tile = Tile(ENTRIES, 0, len(entries))
    assert entries_in(data, tile, LOG) == entries
    for wrong in (tile._replace(width=len(entries) + 1), tile._replace(width=len(entries) - 1)):
        with pytest.raises(LogDamaged, match="entries"):
            entries_in(data, wrong, LOG)
    for cut in range(len(data)):
        with pytest.raises(LogDamaged):
            entries_in(data[:cut], tile, LOG)


@given(st.integers(1, 9), st.integers(1, 300))
def test_even_entries_are_the_same_entries(count: int, width: int) -> None:
    rows = np.random.default_rng(count).integers(0, 256, (count, width), dtype=np.uint8)
    data, tile = encode_bundle(rows), Tile(ENTRIES, 0, count)
    assert np.array_equal(even_entries_in(data, tile, width, LOG), rows)
    assert entries_in(data, tile, LOG) == [row.tobytes() for row in rows]
    for wrong in (data[:-1], data + b"\0", bytes([data[0] ^ 1]) + data[1:]):
        with pytest.raises(LogDamaged, match="tile/entries/000"):
            even_entries_in(wrong, tile, width, LOG)


def test_an_entry_that_a_bundle_cannot_hold() -> None:
    assert encode_bundle(np.zeros((1, 65_535), np.uint8))[:2] == b"\xff\xff"
    with pytest.raises(UsageError):
        encode_bundle(np.zeros((1, 65_536), np.uint8))


@pytest.mark.parametrize("width", [1, 255, 256])
def test_hashes_of_a_tile(width: int) -> None:
    data, tile = bytes(range(32)) * width, Tile(2, 7, width)
    assert hashes_in(data, tile, LOG) == [bytes(range(32))] * width
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(LogDamaged, match=rf"{LOG}: tile/2/007"):
            hashes_in(wrong, tile, LOG)


def test_where_complete_subtrees_stand() -> None:
    assert subtree_rows(5, 6) == (0, 5, 1)
    assert subtree_rows(128, 256) == (0, 128, 128)
    assert subtree_rows(256, 512) == (1, 1, 1)
    assert subtree_rows(0, 65_536) == (2, 0, 1)
    assert subtree_rows(0, 32_768) == (1, 0, 128)
    assert subtree_rows(0, 3) is None
    assert subtree_rows(1, 3) is None
