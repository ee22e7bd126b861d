"""Hash tables against a dict: everything inserted is found, nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import slots
from kernels.jit import kernel
from kernels.layouts import ACCOUNT, KEY, MAX_MARKETS, POSITION
from tests.kernels import entries
from tests.kernels.entries import int64s, run

accounts_and_markets = st.tuples(
    st.one_of(st.integers(0, 5), st.integers(0, 2**31 - 1)),
    st.one_of(st.integers(0, 3), st.integers(0, 32767)),
)
keys = st.tuples(*[st.one_of(st.integers(-1, 1), int64s)] * 4)


def table_for(rows: int) -> np.ndarray:
    """An empty table, the smallest power of two that stays at most half full."""
    return np.full(max(2, 1 << (2 * rows - 1).bit_length()), slots.EMPTY, np.int64)


def position_rows(pairs: list[tuple[int, int]]) -> np.ndarray:
    rows = np.zeros(max(1, len(pairs)), POSITION)
    for row, (account, market) in zip(rows, pairs, strict=False):
        row["account"], row["market"] = account, market
    return rows


def account_rows(given_keys: list[tuple[int, ...]]) -> np.ndarray:
    rows = np.zeros(max(1, len(given_keys)), KEY)
    for row, key in zip(rows, given_keys, strict=False):
        for k in range(4):
            row[f"key{k}"] = key[k]
    return rows


@given(int64s, int64s)
def test_mix_is_a_plain_wrapping_product(a: int, b: int) -> None:
    mixed = run(entries.mix, a, b)
    assert mixed == slots._plain_mix(a, b)
    assert 0 <= mixed < 2**63


def test_mix_is_pinned_and_spreads() -> None:
    """The same in both modes; dense numbers do not pile up in one part of a table."""
    pinned = {
        (0, 0): 0,
        (1, 0): 864063269984623125,
        (0, 1): 1925534810068359822,
        (-1, -1): 738760389671170542,
    }
    assert {pair: run(entries.mix, *pair) for pair in pinned} == pinned
    buckets = [0] * 64
    for account in range(64):
        for market in range(16):
            buckets[run(entries.mix, account, market) & 63] += 1
    assert min(buckets) >= 4 and max(buckets) <= 40


@given(st.lists(accounts_and_markets, max_size=40, unique=True), st.lists(accounts_and_markets, max_size=10))
def test_positions_against_a_dict(pairs: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    rows, table = position_rows(pairs), table_for(len(pairs))
    twin: dict[tuple[int, int], int] = {}
    for slot, pair in enumerate(pairs):
        assert run(slots.find_position, table, rows, *pair) == slots.EMPTY
        run(slots.insert_position, table, rows, slot)
        twin[pair] = slot
    for pair in pairs + others:
        assert run(slots.find_position, table, rows, *pair) == twin.get(pair, slots.EMPTY)
    assert sorted(run(slots.slot_of, x) for x in table.tolist() if x != slots.EMPTY) == list(
        range(len(pairs))
    )


@given(st.lists(keys, max_size=40, unique=True), st.lists(keys, max_size=10))
def test_accounts_against_a_dict(given_keys: list[tuple[int, ...]], others: list[tuple[int, ...]]) -> None:
    rows, table = account_rows(given_keys), table_for(len(given_keys))
    twin: dict[tuple[int, ...], int] = {}
    for n, key in enumerate(given_keys):
        assert run(slots.find_account, table, rows, *key) == slots.EMPTY
        run(slots.insert_account, table, rows, n)
        twin[key] = n
    for key in given_keys + others:
        assert run(slots.find_account, table, rows, *key) == twin.get(key, slots.EMPTY)


@given(keys, st.permutations(range(4)))
def test_the_order_of_key_words_counts(key: tuple[int, ...], order: list[int]) -> None:
    """The hash folds words by xor, so permuted keys may share a bucket: they must still be told apart."""
    permuted = tuple(key[k] for k in order)
    rows, table = account_rows([key]), table_for(4)
    run(slots.insert_account, table, rows, 0)
    assert run(slots.find_account, table, rows, *permuted) == (0 if permuted == key else slots.EMPTY)


@pytest.mark.parametrize("word", range(4))
def test_every_word_of_a_key_is_compared(word: int) -> None:
    """In a table of two places every other key meets this one."""
    rows, table = account_rows([(7, 8, 9, 10)]), table_for(1)
    run(slots.insert_account, table, rows, 0)
    for other in range(100, 120):
        key = [7, 8, 9, 10]
        key[word] = other
        assert run(slots.find_account, table, rows, *key) == slots.EMPTY
    assert run(slots.find_account, table, rows, 7, 8, 9, 10) == 0


def test_account_and_market_are_both_compared() -> None:
    rows, table = position_rows([(7, 8)]), table_for(1)
    run(slots.insert_position, table, rows, 0)
    for other in range(100, 120):
        assert run(slots.find_position, table, rows, other, 8) == slots.EMPTY
        assert run(slots.find_position, table, rows, 7, other) == slots.EMPTY
    assert run(slots.find_position, table, rows, 7, 8) == 0


@given(st.lists(accounts_and_markets, max_size=30, unique=True), st.integers(0, 30))
def test_index_positions_rebuilds_a_prefix(pairs: list[tuple[int, int]], count: int) -> None:
    count = min(count, len(pairs))
    rows, table = position_rows(pairs), table_for(len(pairs))
    table[:] = 0
    run(slots.index_positions, table, rows, count)
    for slot, pair in enumerate(pairs):
        assert run(slots.find_position, table, rows, *pair) == (slot if slot < count else slots.EMPTY)


@given(st.lists(keys, max_size=30, unique=True), st.integers(0, 30))
def test_index_accounts_rebuilds_a_prefix(given_keys: list[tuple[int, ...]], count: int) -> None:
    count = min(count, len(given_keys))
    rows, table = account_rows(given_keys), table_for(len(given_keys))
    table[:] = 0
    run(slots.index_accounts, table, rows, count)
    for n, key in enumerate(given_keys):
        assert run(slots.find_account, table, rows, *key) == (n if n < count else slots.EMPTY)


def test_probing_wraps_round_the_end() -> None:
    """Eight rows in sixteen places: some start near the end and must go on at the front."""
    pairs = [(a, 0) for a in range(200) if run(entries.mix, a, 0) & 15 == 15][:8]
    assert len(pairs) == 8
    rows, table = position_rows(pairs), np.full(16, slots.EMPTY, np.int64)
    run(slots.index_positions, table, rows, 8)
    entries_seen = [run(slots.slot_of, x) for x in table.tolist() if x != slots.EMPTY]
    assert (table[7:15] == slots.EMPTY).all() and entries_seen == [1, 2, 3, 4, 5, 6, 7, 0]
    for slot, pair in enumerate(pairs):
        assert run(slots.find_position, table, rows, *pair) == slot


def test_an_entry_is_the_slot_under_bits_of_its_hash() -> None:
    """So a probe passes over another position without touching its row."""
    pairs = [(a, 1) for a in range(40)]
    rows, table = position_rows(pairs), table_for(40)
    run(slots.index_positions, table, rows, 40)
    for entry in table[table != slots.EMPTY].tolist():
        account, market = pairs[run(slots.slot_of, entry)]
        assert entry >> 32 == slots._plain_mix(account, market) >> 32


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, MAX_MARKETS - 1)), max_size=40, unique=True),
    st.tuples(st.integers(0, 3), st.integers(0, MAX_MARKETS - 1)),
)
def test_an_account_knows_its_first_positions(pairs: list[tuple[int, int]], other: tuple[int, int]) -> None:
    """Of an account's markets with the same low three bits the first is known, and never another in its place."""
    near, first = np.zeros(4, ACCOUNT).view(np.int32), dict[tuple[int, int], tuple[int, int]]()
    for slot, (account, market) in enumerate(pairs):
        run(slots.note_near, near, account, market, slot)
        first.setdefault((account, market % 8), (market, slot))
    for account, market in [*pairs, other]:
        known, slot = first.get((account, market % 8), (None, slots.EMPTY))
        assert run(slots.near_position, near, account, market) == (slot if known == market else slots.EMPTY)


@pytest.mark.parametrize("market", [0, 8, 9, 127, MAX_MARKETS - 1])
def test_an_account_s_line_knows_one_market_of_all(market: int) -> None:
    near = np.zeros(1, ACCOUNT).view(np.int32)
    run(slots.note_near, near, 0, market, 77)
    known = {m: run(slots.near_position, near, 0, m) for m in range(MAX_MARKETS)}
    assert known == {m: 77 if m == market else slots.EMPTY for m in range(MAX_MARKETS)}


def test_a_slot_too_large_for_an_entry_is_not_noted() -> None:
    near = np.zeros(1, ACCOUNT).view(np.int32)
    run(slots.note_near, near, 0, 9, slots.NEAR_SLOTS)
    assert not near.any()
    run(slots.note_near, near, 0, MAX_MARKETS - 1, slots.NEAR_SLOTS - 1)
    assert run(slots.near_position, near, 0, MAX_MARKETS - 1) == slots.NEAR_SLOTS - 1
    assert near.min() == 0


@pytest.mark.parametrize("stranger", [(5, 2), (9, 2), (5, 3)])
def test_two_positions_with_the_same_bits_of_hash_are_told_apart(stranger: tuple[int, int]) -> None:
    """Entries that agree in their 31 bits: the row decides, by account and market both."""
    rows, table = position_rows([stranger, (9, 3)]), np.full(2, slots.EMPTY, np.int64)
    hashed = slots._plain_mix(9, 3)
    table[hashed & 1] = hashed >> 32 << 32
    table[hashed + 1 & 1] = hashed >> 32 << 32 | 1
    with_a_way_out = np.full(8, slots.EMPTY, np.int64)
    with_a_way_out[hashed & 7] = hashed >> 32 << 32
    assert run(slots.find_position, table, rows, 9, 3) == 1
    assert run(slots.find_position, with_a_way_out, rows, 9, 3) == slots.EMPTY


def members(first: np.ndarray, following: np.ndarray, account: int) -> list[int]:
    """An account's list, head first."""
    out, at = [], int(first[account])
    while at:
        out.append(at - 1)
        at = int(following[at - 1])
    return out


@given(st.lists(st.integers(0, 11), max_size=60))
def test_lists_of_positions_against_lists(toggled: list[int]) -> None:
    """Each slot belongs to one account; it is put in and taken out in turn, and taken out twice for nothing."""
    first, following = np.zeros(4, np.int32), np.zeros(12, np.int32)
    twin: dict[int, list[int]] = {account: [] for account in range(4)}
    for step, slot in enumerate(toggled):
        account = slot % 4
        if slot in twin[account]:
            run(slots.unlink_position, first, following, account, slot)
            twin[account].remove(slot)
            assert int(following[slot]) == 0
        elif step % 5:
            run(slots.link_position, first, following, account, slot)
            twin[account].insert(0, slot)
        else:
            run(slots.unlink_position, first, following, account, slot)
        assert {account: members(first, following, account) for account in range(4)} == twin


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), max_size=30), st.integers(0, 3))
def test_an_index_lists_the_cross_positions_in_use(given_rows: list[tuple[int, int]], unused: int) -> None:
    rows = np.zeros(len(given_rows) + 1, POSITION)
    for row, (account, mode) in zip(rows, given_rows, strict=False):
        row["account"], row["mode"] = account, mode
    used = max(0, len(given_rows) - unused)
    first, following = np.zeros(6, np.int32), np.zeros(len(rows), np.int32)
    run(slots.index_cross, first, following, rows, used)
    for account in range(6):
        wanted = [slot for slot in range(used) if given_rows[slot] == (account, 1)]
        assert sorted(members(first, following, account)) == wanted


@kernel
def _holder_of(positions: np.ndarray, k: int) -> int:
    return slots.holder_of(positions[k])


@given(
    st.integers(0, 2**31 - 1), st.integers(0, 255), st.sampled_from([0, 1]), st.sampled_from([0, 1, -1, 127])
)
def test_the_holder_of_a_plain_position_is_its_account_and_market(
    account: int, market: int, mode: int, flags: int
) -> None:
    positions = np.zeros(2, POSITION)
    for name, value in (
        ("account", account),
        ("market", market),
        ("mode", mode),
        ("flags", flags),
        ("size", -1),
    ):
        positions[1][name] = value
    word = int(_holder_of(positions, 1))
    assert (word == account | market << 32) == (mode == 0 and flags == 0)
    assert word & (2**48 - 1) == account | market << 32
