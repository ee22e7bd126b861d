"""A kernel finds in a parcel the arrays that were put there, however they look and whatever was there before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.jit import kernel
from kernels.parcel import Arrays, Parcel, spread, unpacker
from kernels.types import Words, wide

WIDTH = 3
ROW = np.dtype([("a", "<i4"), ("b", "<i8"), ("c", "<i4")], align=True)


class First(NamedTuple):
    rows: NDArray[np.void]
    table: NDArray[np.int64]


class Second(NamedTuple):
    cube: NDArray[np.int64]  # rows of 2 * WIDTH
    narrow: NDArray[np.int32]


def pair_of(rows: int, width: int, seed: int = 3) -> tuple[First, Second]:
    random = np.random.default_rng(seed)
    table = random.integers(-(2**40), 2**40, (rows, width))
    structured = np.zeros(rows, ROW)
    for name in ("a", "b", "c"):
        structured[name] = random.integers(-(2**30), 2**30, rows)
    cube = random.integers(-(2**40), 2**40, (rows, 2, width))
    return First(structured, table), Second(cube, random.integers(-(2**30), 2**30, rows).astype(np.int32))


def _like() -> tuple[Arrays, ...]:
    return pair_of(1, WIDTH)


unpack = unpacker(_like)


@kernel
def sum_of(parcel: Words, weight: int) -> int:
    """A sum that tells any two of the arrays' numbers apart; doubles what is in the first row's b."""
    first, second = unpack(parcel)
    total = 0
    for i in range(len(first.rows)):
        row = first.rows[i]
        total += wide(row["a"]) + weight * row["b"] + 3 * wide(row["c"]) + 5 * wide(second.narrow[i])
        for k in range(first.table.shape[1]):
            total += (7 + i + k) * first.table[i, k] + (11 + i + 2 * k) * second.cube[i, 1, k]
            total += (13 + 3 * i + k) * second.cube[i, 0, k]
    if len(first.rows) > 0:
        first.rows[0]["b"] *= 2
    return total


@kernel
def sum_of_spread(parcel: Words) -> int:
    """The same numbers by arrays loaded at once, and by handles: 1 if all are equal."""
    first, second = unpack(parcel)
    rows, cube = spread(first).rows, spread(second).cube
    same = 1 if len(rows) == len(first.rows) and len(cube) == len(second.cube) else 0
    for i in range(len(rows)):
        if rows[i]["b"] != first.rows[i]["b"] or cube[i, 1, 2] != second.cube[i, 1, 2]:
            same = 0
        rows[i]["b"] += 1
    return same


def plainly(first: First, second: Second, weight: int) -> int:
    total = 0
    rows, width = first.table.shape
    for i in range(rows):
        a, b, c = (int(first.rows[i][name]) for name in ("a", "b", "c"))
        total += a + weight * b + 3 * c + 5 * int(second.narrow[i])
        for k in range(width):
            total += (7 + i + k) * int(first.table[i, k]) + (11 + i + 2 * k) * int(second.cube[i, 1, k])
            total += (13 + 3 * i + k) * int(second.cube[i, 0, k])
    return total


@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_what_is_put_is_what_is_found(rows: int) -> None:
    parcel = Parcel(*_like())
    first, second = pair_of(rows, WIDTH)
    parcel.put(0, first)
    parcel.put(1, second)
    expected = plainly(first, second, 2)
    before = first.rows["b"].copy()
    assert sum_of(parcel.words, 2) == expected
    assert first.rows["b"][:1].tolist() == [2 * b for b in before[:1].tolist()], "written through"


def test_another_tuple_takes_the_place_of_the_one_before() -> None:
    parcel = Parcel(*_like())
    first, second = pair_of(4, WIDTH)
    parcel.put(0, first)
    parcel.put(1, second)
    words = parcel.words
    other = pair_of(4, WIDTH, seed=9)[1]
    parcel.put(1, other)
    assert parcel.words is words
    assert sum_of(words, 1) == plainly(first._replace(rows=halved(first.rows)), other, 1)


def test_arrays_loaded_at_once_are_the_same_arrays() -> None:
    parcel = Parcel(*_like())
    first, second = pair_of(5, WIDTH)
    before = first.rows["b"].copy()
    parcel.put(0, first)
    parcel.put(1, second)
    assert sum_of_spread(parcel.words) == 1
    assert (first.rows["b"] == before + 1).all(), "written through"


def halved(rows: NDArray[np.void]) -> NDArray[np.void]:
    out = rows.copy()
    out["b"][0] //= 2
    return out


@pytest.mark.parametrize(
    "narrow", [np.zeros(4, np.int64), np.zeros((4, 1), np.int32), np.zeros(8, np.int32)[::2], None]
)
def test_an_array_of_another_type_is_refused(narrow: NDArray[np.int64] | None) -> None:
    second = pair_of(4, WIDTH)[1]
    if narrow is None:
        narrow = second.narrow.copy()
        narrow.flags.writeable = False
    with pytest.raises(ValueError, match="tuple 1"):
        Parcel(*_like()).put(1, second._replace(narrow=narrow))


def test_two_tuples_in_turns_are_each_found_again() -> None:
    parcel = Parcel(*_like())
    pairs = [pair_of(rows, WIDTH, seed=rows) for rows in (3, 5, 2)]
    parcel.put(1, pairs[0][1])
    for k in (0, 1, 0, 1, 2, 1, 2, 0):
        first, second = pairs[k]
        parcel.put(0, first, in_turns=True)
        parcel.put(1, second)
        expected = plainly(first, second, 2)
        assert sum_of(parcel.words, 2) == expected
