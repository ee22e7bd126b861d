"""Gates one by one, scaling, the median and its witnesses, against the twin."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kernels import oracle, oracle_rounds
from kernels.jit import kernel
from kernels.layouts import MAX_PROVIDERS, PRICE_MAX, PRICE_MIN
from kernels.oracle import SKEW_NS
from kernels.oracle_rounds import VOTE_SLOTS
from kernels.types import Rows, Words
from tests.kernels import twins
from tests.kernels.entries import int64s, run
from tests.kernels.twins import Vote

NOW, AGE = 10**18, 10 * 10**9
MARKET = 2
GOOD = Vote(weight=1, publish_ns=NOW - 1, price=300_000_000, conf=6_000_000)


def votes_of(votes: list[Vote]) -> np.ndarray:
    """VOTE rows of three markets; only MARKET has observations, the others hold what must not be read."""
    rows = np.zeros(3 * VOTE_SLOTS, oracle.VOTE)
    rows["weight"], rows["publish_ns"], rows["price"] = 5, NOW - 5, 111_111_111
    rows[MARKET * VOTE_SLOTS : (MARKET + 1) * VOTE_SLOTS] = 0
    rows["valid"] = rows["samples"] = 1
    for k, vote in enumerate(votes):
        row = rows[MARKET * VOTE_SLOTS + k]
        row["weight"], row["publish_ns"], row["price"], row["conf"] = vote
    return rows


def rules_of(age_ns: int) -> np.ndarray:
    """Starting values with this age limit; a primary may set the first price."""
    rules = oracle.starting_rules()
    rules["age_ns"], rules["alone"] = age_ns, 1
    return rules


@kernel
def _first(
    votes: Rows, rules: Rows, states: Rows, now_ns: int, order: Words, reasons: Words
) -> tuple[int, int, int]:
    return oracle_rounds.decide(votes, MARKET, rules[0], states[0], now_ns, order, reasons)


@kernel
def _reason(votes: Rows, rules: Rows, now_ns: int) -> int:
    return oracle.vote_reason(votes[MARKET * VOTE_SLOTS], rules[0], 0, 0, now_ns)


def consensus(votes: list[Vote], now_ns: int = NOW, age_ns: int = AGE) -> tuple[int, int, int]:
    """The first round of a market."""
    rows, states = votes_of(votes), np.zeros(1, oracle_rounds.ORACLE_STATE)
    order, reasons = np.full(VOTE_SLOTS, -7, np.int64), np.zeros(len(rows), np.int64)
    return run(_first, rows, rules_of(age_ns), states, now_ns, order, reasons)


def gate(vote: Vote, now_ns: int = NOW, age_ns: int = AGE) -> int:
    """1 if the vote passes every gate."""
    return int(run(_reason, votes_of([vote]), rules_of(age_ns), now_ns) == oracle.PASSES)


LET_THROUGH = [
    GOOD._replace(publish_ns=NOW + SKEW_NS),
    GOOD._replace(weight=10**6),
    GOOD._replace(publish_ns=NOW),
    GOOD._replace(publish_ns=NOW - AGE),
    GOOD._replace(price=PRICE_MIN, conf=0),
    GOOD._replace(price=PRICE_MAX, conf=180_000_000),
    GOOD._replace(conf=0),
]
HELD_BACK = [
    GOOD._replace(weight=0),
    GOOD._replace(weight=-1),
    GOOD._replace(publish_ns=0),
    GOOD._replace(publish_ns=-1),
    GOOD._replace(publish_ns=NOW + SKEW_NS + 1),
    GOOD._replace(publish_ns=NOW - AGE - 1),
    GOOD._replace(price=PRICE_MIN - 1, conf=0),
    GOOD._replace(price=PRICE_MAX + 1),
    GOOD._replace(price=0, conf=0),
    GOOD._replace(price=-GOOD.price),
    GOOD._replace(conf=-1),
    GOOD._replace(conf=6_000_001),
    GOOD._replace(conf=2**63 - 1),
]


@pytest.mark.parametrize("vote", LET_THROUGH)
def test_gate_lets_through(vote: Vote) -> None:
    assert gate(vote) == 1


@pytest.mark.parametrize("vote", HELD_BACK)
def test_gate_holds_back_for_one_reason(vote: Vote) -> None:
    assert gate(GOOD) == 1
    assert gate(vote) == 0


prices = st.one_of(
    st.sampled_from(
        [PRICE_MIN, PRICE_MAX, PRICE_MIN - 1, PRICE_MAX + 1, 300_000_000, 300_750_000, 300_750_001]
    ),
    st.integers(299_000_000, 301_000_000),
    st.integers(PRICE_MIN, PRICE_MAX),
)
confs = st.one_of(st.sampled_from([0, 1, -1]), st.integers(0, 3_000_000), st.integers(0, PRICE_MAX))
times = st.one_of(
    st.just(NOW),
    st.just(NOW - AGE),
    st.just(0),
    st.integers(NOW - AGE - 2, NOW + 2),
    st.integers(NOW + SKEW_NS - 2, NOW + SKEW_NS + 2),
)
any_vote = st.builds(Vote, st.integers(-1, 9), times, prices, confs)
good_vote = st.builds(
    Vote, st.integers(1, 9), st.just(NOW - 1), st.integers(PRICE_MIN, PRICE_MAX), st.integers(0, 200_000)
)


@given(any_vote, st.one_of(st.just(NOW), int64s), st.integers(0, 2**40))
def test_gate_against_the_twin(vote: Vote, now_ns: int, age_ns: int) -> None:
    """Times of the books are never negative: the clock starts above 0."""
    assume(now_ns >= 0)
    assert gate(vote, now_ns, age_ns) == int(twins.may_vote(vote, now_ns, age_ns))


@given(st.lists(any_vote, max_size=MAX_PROVIDERS))
def test_consensus_against_the_twin(votes: list[Vote]) -> None:
    assert consensus(votes) == twins.consensus(votes, NOW, AGE)


@given(st.lists(good_vote, min_size=1, max_size=MAX_PROVIDERS))
def test_consensus_of_good_votes_against_the_twin(votes: list[Vote]) -> None:
    assert consensus(votes) == twins.consensus(votes, NOW, AGE)


@given(st.lists(good_vote, min_size=3, max_size=7), st.randoms(use_true_random=False))
def test_median_is_within_the_votes_and_ignores_their_order(votes: list[Vote], chance) -> None:  # type: ignore[no-untyped-def]
    status, price, conf = consensus(votes)
    assert status in (twins.OK, twins.TWO)
    assert (price, conf) in [(v.price, v.conf) for v in votes]
    shuffled = votes.copy()
    chance.shuffle(shuffled)
    assert consensus(shuffled)[:2] == (status, price)


@given(st.integers(PRICE_MIN, PRICE_MAX), st.integers(PRICE_MIN, PRICE_MAX), prices, st.integers(0, 2))
def test_one_corrupt_of_three_stays_in_the_honest_range(a: int, b: int, wrong: int, place: int) -> None:
    votes = [GOOD._replace(price=a, conf=0), GOOD._replace(price=b, conf=0)]
    votes.insert(place, GOOD._replace(price=wrong, conf=0))
    status, price, _ = consensus(votes)
    if status == twins.OK:
        assert min(a, b) <= price <= max(a, b)
    else:
        assert not PRICE_MIN <= wrong <= PRICE_MAX


def test_an_exact_tie_takes_the_lower() -> None:
    votes = [GOOD._replace(price=p) for p in (400_000_000, 300_000_000, 500_000_000, 600_000_000)]
    assert consensus(votes) == (twins.OK, 400_000_000, GOOD.conf)


def test_one_vote_counts_only_from_the_primary() -> None:
    silent = GOOD._replace(publish_ns=0)
    assert consensus([GOOD]) == (twins.PRIMARY, GOOD.price, GOOD.conf)
    assert consensus([silent, GOOD]) == (twins.NONE, 0, 0)
    assert consensus([]) == (twins.NONE, 0, 0)


@pytest.mark.parametrize(
    ("conf", "apart", "agree"),
    [(0, 750_000, True), (0, 750_001, False), (400_000, 800_000, True), (400_000, 800_001, False)],
)
@pytest.mark.parametrize("side", [1, -1])
def test_two_agree_within_their_band(conf: int, apart: int, agree: bool, side: int) -> None:
    """25 bps of 300,000,000 are 750,000; wider confidences widen the band."""
    first = GOOD._replace(conf=conf)
    second = first._replace(price=first.price + side * apart)
    wanted = (twins.TWO, first.price, conf) if agree else (twins.NONE, 0, 0)
    assert consensus([first, second]) == wanted


def test_of_two_the_lower_number_is_primary() -> None:
    silent, dear = GOOD._replace(weight=0), GOOD._replace(price=300_100_000, conf=7)
    assert consensus([silent, dear, silent, GOOD]) == (twins.TWO, dear.price, 7)
    assert consensus([silent, GOOD, silent, dear]) == (twins.TWO, GOOD.price, GOOD.conf)


@given(int64s, st.integers(-21, 21))
def test_rescale(value: int, shift: int) -> None:
    got, ok = run(oracle.rescale, value, shift)
    exact = Fraction(value) * Fraction(10) ** shift
    wanted = twins.half_even(exact)
    if abs(shift) <= 18 and twins.fits(wanted):
        assert (got, ok) == (wanted, 1)
    else:
        assert (got, ok) == (0, 0)


@pytest.mark.parametrize(
    ("value", "scaled"),
    [(5, 0), (15, 2), (25, 2), (26, 3), (24, 2), (-5, 0), (-15, -2), (-25, -2), (-26, -3)],
)
def test_rescale_breaks_ties_to_even(value: int, scaled: int) -> None:
    assert run(oracle.rescale, value, -1) == (scaled, 1)


@pytest.mark.parametrize(
    ("value", "shift", "scaled"),
    [(7 * 10**18, -18, (7, 1)), (3, 18, (3 * 10**18, 1)), (5, 0, (5, 1)), (0, 19, (0, 0)), (0, -19, (0, 0))],
)
def test_rescale_at_its_largest_shifts(value: int, shift: int, scaled: tuple[int, int]) -> None:
    assert run(oracle.rescale, value, shift) == scaled


@pytest.mark.parametrize("n", range(19))
def test_power10(n: int) -> None:
    assert run(oracle.power10, n) == 10**n


@given(int64s, int64s, int64s)
def test_median3(a: int, b: int, c: int) -> None:
    assert run(oracle.median3, a, b, c) == sorted((a, b, c))[1]
