"""Gates with their reasons, bands, and values that only one provider publishes, against the twin."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import oracle
from kernels.jit import kernel
from kernels.layouts import PRICE_MAX, PRICE_MIN
from kernels.types import Rows
from tests.kernels import oracle_twin, twins
from tests.kernels.entries import int64s, run
from tests.kernels.oracle_rows import GOOD, NOW, SECOND, rows_of, rules_of
from tests.kernels.oracle_twin import FullVote, Rules


@kernel
def _reason(votes: Rows, rules: Rows, reference: int, band: int, now_ns: int) -> int:
    return oracle.vote_reason(votes[0], rules[0], reference, band, now_ns)


LATE = NOW - 10 * SECOND
FAILS = [
    (oracle.NO_WEIGHT, [("weight", 0), ("weight", -1), ("weight", 2**32 + 1)], ("weight", 2**32)),
    (oracle.NOT_VALID, [("valid", 0), ("valid", 2)], ("valid", 1)),
    (oracle.NO_TIME, [("publish_ns", 0), ("publish_ns", -(2**63))], None),
    (oracle.FROM_THE_FUTURE, [("publish_ns", NOW + SECOND + 1)], ("publish_ns", NOW + SECOND)),
    (oracle.TOO_OLD, [("publish_ns", LATE - 1), ("publish_ns", 1)], ("publish_ns", LATE)),
    (oracle.NOT_POSITIVE, [("price", 0), ("price", -(2**63))], None),
    (oracle.OFF_SCALE, [("price", PRICE_MIN - 1), ("price", PRICE_MAX + 1), ("price", 1)], None),
    (oracle.TOO_WIDE, [("conf", 6_000_001), ("conf", -1), ("conf", 2**63 - 1)], ("conf", 6_000_000)),
    (oracle.TOO_FAR, [("price", 300_001_001), ("price", 299_998_999)], ("price", 300_001_000)),
    (oracle.FEW_SAMPLES, [("samples", 0), ("samples", -1)], ("samples", 1)),
]


@pytest.mark.parametrize(("code", "worse", "just"), FAILS)
def test_each_gate_has_its_reason_and_its_border(
    code: int, worse: list[tuple[str, int]], just: tuple[str, int] | None
) -> None:
    """The reference is 300,000,000 with a band of 1,000."""
    entry = rules_of(Rules()), 300_000_000, 1_000, NOW
    for name, value in worse:
        vote = GOOD._replace(**{name: value})
        assert run(_reason, rows_of([vote]), *entry) == code
    if just is not None:
        assert run(_reason, rows_of([GOOD._replace(**dict([just]))]), *entry) == oracle.PASSES


def test_the_first_failing_gate_is_named() -> None:
    """From a vote that fails every gate, mended gate after gate; and every reason has its words."""
    vote = FullVote(0, 0, 0, -1, 0, 0)
    entry = rules_of(Rules()), 300_000_000, 1_000, NOW
    seen = []
    for mended in (
        {"weight": 1},
        {"valid": 1},
        {"publish_ns": NOW + 2 * SECOND},
        {"publish_ns": 1},
        {"publish_ns": NOW},
        {"price": 1},
        {"price": PRICE_MIN},
        {"conf": 0},
        {"price": 300_000_000},
        {"samples": 1},
    ):
        seen.append(run(_reason, rows_of([vote]), *entry))
        vote = vote._replace(**mended)
    assert seen == list(range(1, 11))
    assert run(_reason, rows_of([vote]), *entry) == oracle.PASSES
    assert len(oracle.REASONS) == 11


any_vote = st.builds(
    FullVote,
    st.one_of(st.integers(-1, 9), int64s),
    st.one_of(st.integers(LATE - 2, NOW + SECOND + 2), int64s),
    st.one_of(st.integers(299_998_000, 300_002_000), st.integers(PRICE_MIN - 1, PRICE_MAX + 1), int64s),
    st.one_of(st.integers(-1, 7_000_000), int64s),
    st.one_of(st.integers(-1, 3), int64s),
    st.sampled_from([0, 1, 1, 1, -(2**63)]),
)


@given(any_vote, st.sampled_from([0, 300_000_000]), st.integers(0, 3_000), st.one_of(st.just(NOW), int64s))
def test_reason_against_the_twin(vote: FullVote, reference: int, band: int, now_ns: int) -> None:
    got = run(_reason, rows_of([vote]), rules_of(Rules()), reference, band, now_ns)
    assert got == oracle_twin.reason(vote, Rules(), reference, band, now_ns)


shares = st.one_of(st.sampled_from([0, 1, 500, 100_000, 10**9]), st.integers(0, 10**9))


@given(
    st.one_of(st.integers(0, PRICE_MAX), st.just(2**63 - 1)), int64s.filter(lambda t: t >= 0), shares, shares
)
def test_band_against_the_twin(price: int, age_ns: int, base_ppm: int, ppm_s: int) -> None:
    got = run(oracle.band_of, price, age_ns, base_ppm, ppm_s)
    assert got == oracle_twin.band(price, age_ns, base_ppm, ppm_s)


def test_band_of_the_starting_values() -> None:
    """10 % and 5 bps a second."""
    assert run(oracle.band_of, 300_000_000, 0, 100_000, 500) == 30_000_000
    assert run(oracle.band_of, 300_000_000, 2 * SECOND, 100_000, 500) == 30_300_000
    assert run(oracle.band_of, 300_000_000, 1, 100_000, 500) == 30_000_000
    assert run(oracle.band_of, 2**63 - 1, 0, 1_000_000, 0) == 2**63 - 1


@pytest.mark.parametrize(
    ("leverage", "seconds"), [(1, 10), (20, 10), (21, 3), (100, 3), (101, 1), (1000, 1), (0, 10)]
)
def test_age_limit_by_leverage(leverage: int, seconds: int) -> None:
    assert run(oracle.age_limit_ns, leverage) == seconds * SECOND


@given(int64s, int64s, int64s)
def test_switchboard_conf(price: int, std_dev: int, spread: int) -> None:
    exact = max(
        Fraction(196, 100) * max(0, std_dev), Fraction(max(0, spread), 2), Fraction(max(0, price), 1000)
    )
    assert run(oracle.switchboard_conf, price, std_dev, spread) == min(2**63 - 1, math.ceil(exact))


@given(int64s, int64s, st.integers(-20, 2))
def test_rescale128(hi: int, lo: int, shift: int) -> None:
    wanted = round(Fraction(twins.int128(hi, lo)) * Fraction(10) ** shift)
    good = -18 <= shift <= 0 and twins.fits(wanted)
    got, ok = run(oracle.rescale128, hi, lo, shift)
    if good:
        assert (got, ok) == (wanted, 1)
    else:
        assert ok == 0


@given(st.integers(-(2**65), 2**65), st.integers(0, 18), st.sampled_from([-1, 0, 1]))
def test_rescale128_at_its_ties(whole: int, places: int, beside: int) -> None:
    value = whole * 10**places + 5 * 10**places // 10 + beside
    hi, lo = value >> 64, value & (2**64 - 1)
    lo -= 2**64 if lo >= 2**63 else 0
    wanted = round(Fraction(value, 10**places))
    got, ok = run(oracle.rescale128, hi, lo, -places)
    assert (got, ok) == (wanted, 1) if twins.fits(wanted) else ok == 0


@pytest.mark.parametrize(
    ("value", "shift", "scaled"),
    [(7 * 10**18, -18, (7, 1)), (5, 0, (5, 1)), (0, 1, (0, 0)), (0, -19, (0, 0)), (0, 2, (0, 0))],
)
def test_rescale128_at_its_largest_shifts(value: int, shift: int, scaled: tuple[int, int]) -> None:
    assert run(oracle.rescale128, value >> 64, value, shift) == scaled


@pytest.mark.parametrize(
    ("conf", "ppm", "wide"), [(0, 10**6, False), (0, 10**6 - 1, True), (1, 2 * 10**6, True)]
)
def test_a_confidence_as_wide_as_the_largest_price_passes_where_it_may(
    conf: int, ppm: int, wide: bool
) -> None:
    vote = GOOD._replace(price=PRICE_MAX, conf=PRICE_MAX + conf)
    reason = run(_reason, rows_of([vote]), rules_of(Rules(conf_ppm=ppm)), 0, 0, NOW)
    assert reason == (oracle.TOO_WIDE if wide else oracle.PASSES)


def test_rescale128_at_the_edge_of_int64() -> None:
    """(2**63 - 1) + 0.5 rounds to the even 2**63, which does not fit."""
    value = (2**63 - 1) * 10 + 5
    assert run(oracle.rescale128, value >> 64, (value & (2**64 - 1)) - 2**64, -1) == (0, 0)


def test_any_reference_but_none_has_a_band() -> None:
    assert run(_reason, rows_of([GOOD]), rules_of(Rules()), 1, 5, NOW) == oracle.TOO_FAR
    assert run(_reason, rows_of([GOOD]), rules_of(Rules()), 0, 5, NOW) == oracle.PASSES
