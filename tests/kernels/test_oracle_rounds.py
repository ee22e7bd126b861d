"""The median with its reference, and rounds with hold and jump, against the twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import oracle, oracle_rounds
from kernels.jit import kernel
from kernels.layouts import PRICE_MAX, PRICE_MIN
from kernels.types import Rows, Words
from tests.kernels import oracle_twin, twins
from tests.kernels.entries import run
from tests.kernels.oracle_rows import GOOD, NOW, SECOND, SLOTS, rows_of, rules_of
from tests.kernels.oracle_twin import HELD, FullVote, Market, Rules


class Rounds:
    """The kernel's markets over several rounds, and the same by the twin."""

    def __init__(self, rules: Rules | None = None, markets: int = 1) -> None:
        self.twins = [Market(rules or Rules()) for _ in range(markets)]
        self.rules = rules_of(self.twins[0].rules)
        self.states = np.zeros(markets, oracle_rounds.ORACLE_STATE)

    def decide(self, votes: list[list[FullVote]], now_ns: int) -> list[tuple[int, int, int]]:
        rows = np.concatenate([rows_of(v) for v in votes])
        out = np.zeros(len(votes), oracle_rounds.CONSENSUS)
        reasons, order = np.full(len(rows), -1, np.int64), np.full(SLOTS, -7, np.int64)
        oracle_rounds.decide_all(rows, self.rules[0], self.states, np.int64(now_ns), order, reasons, out)
        for m, twin in enumerate(self.twins):
            wanted = twin.decide(votes[m], now_ns)
            assert tuple(out[m].tolist()) == wanted
            heard = reasons[m * SLOTS : m * SLOTS + SLOTS].tolist()
            assert heard == twin.reasons + [oracle.NO_WEIGHT] * (SLOTS - len(votes[m]))
            kept = {name: self.states[m][name] for name in self.states.dtype.names}
            assert kept == {name: getattr(twin, name) for name in kept}
        return [tuple(row) for row in out.tolist()]

    def one(self, votes: list[FullVote], now_ns: int) -> tuple[int, int, int]:
        return self.decide([votes], now_ns)[0]


@kernel
def _tally(rows: Rows, order: Words, reference: int, witness_ppm: int) -> tuple[int, int, int]:
    votes = 0
    for k in range(SLOTS):
        if rows[k]["weight"] > 0:
            oracle.insert_vote(rows, 0, order, votes, k)
            votes += 1
    return oracle.tally(rows, 0, order, votes, reference, witness_ppm)


def tally(votes: list[FullVote], reference: int = 0, witness_ppm: int = 2_500) -> tuple[int, int, int]:
    return run(_tally, rows_of(votes), np.zeros(SLOTS, np.int64), reference, witness_ppm)


on_scale = st.one_of(st.integers(299_000_000, 301_000_000), st.integers(PRICE_MIN, PRICE_MAX))
fair = st.builds(
    FullVote,
    st.one_of(st.just(1), st.integers(1, 9)),
    st.just(NOW),
    on_scale,
    st.integers(0, 200_000),
    st.just(3),
    st.just(1),
)
references = st.one_of(st.just(0), on_scale)


@given(st.lists(fair, max_size=13), references, st.sampled_from([0, 2_500, 10**6]))
def test_tally_against_the_twin(votes: list[FullVote], reference: int, witness_ppm: int) -> None:
    got = tally(votes, reference, witness_ppm)
    assert got == oracle_twin.tally(dict(enumerate(votes)), reference, witness_ppm)


@given(st.lists(fair, min_size=3, max_size=9), references, st.randoms(use_true_random=False))
def test_tally_ignores_order_and_stays_within(votes: list[FullVote], reference: int, chance) -> None:  # type: ignore[no-untyped-def]
    status, price, _ = tally(votes, reference)
    assert min(v.price for v in votes) <= price <= max(v.price for v in votes)
    shuffled = votes.copy()
    chance.shuffle(shuffled)
    assert tally(shuffled, reference)[:2] == (status, price)


@given(on_scale, on_scale, on_scale, st.integers(0, 2), references)
def test_one_corrupt_of_three_stays_in_the_honest_range(
    a: int, b: int, wrong: int, place: int, reference: int
) -> None:
    votes = [GOOD._replace(price=a), GOOD._replace(price=b)]
    votes.insert(place, GOOD._replace(price=wrong))
    _, price, _ = tally(votes, reference)
    assert min(a, b) <= price <= max(a, b)


@given(st.lists(fair, min_size=3, max_size=9), st.data(), references)
def test_tally_is_monotone(votes: list[FullVote], data, reference: int) -> None:  # type: ignore[no-untyped-def]
    k = data.draw(st.integers(0, len(votes) - 1))
    raised = votes.copy()
    raised[k] = votes[k]._replace(price=data.draw(st.integers(votes[k].price, PRICE_MAX)))
    assert tally(raised, reference)[1] >= tally(votes, reference)[1]


@given(st.lists(fair, min_size=3, max_size=9), references, st.integers(1, 10**6))
def test_tally_is_scale_equivariant(votes: list[FullVote], reference: int, factor: int) -> None:
    status, price, conf = tally(votes, reference)
    scaled = [v._replace(price=v.price * factor, conf=v.conf * factor) for v in votes]
    assert tally(scaled, reference * factor) == (status, price * factor, conf * factor)


@pytest.mark.parametrize(
    ("reference", "price"), [(0, 310), (100, 310), (310, 310), (317, 317), (320, 320), (900, 320)]
)
def test_an_exact_tie_clamps_the_reference(reference: int, price: int) -> None:
    votes = [GOOD._replace(price=p * 10**6, conf=p) for p in (320, 300, 310, 330)]
    conf = 310 if reference == 0 else 320
    assert tally(votes, reference * 10**6) == (twins.OK, price * 10**6, conf)


def test_the_upper_side_of_a_tie_is_read_from_its_own_provider_and_market() -> None:
    """Four of weight 1, rising by provider: a tie between the second and the third, whose confidence is wider."""
    votes = [GOOD._replace(price=300_000_000 + k * 1_000, conf=k * 10) for k in range(4)]
    assert tally(votes, 300_001_500) == (twins.OK, 300_001_500, 20)
    assert tally(votes, 1) == (twins.OK, 300_001_000, 20)
    assert tally(votes) == (twins.OK, 300_001_000, 10)
    rounds = Rounds(markets=2)
    rounds.states[1]["reference"] = rounds.twins[1].reference = 300_001_500
    assert rounds.decide([[], votes], NOW)[1] == (twins.OK, 300_001_500, 20)


def at(second: int, *prices: int) -> list[FullVote]:
    return [GOOD._replace(publish_ns=NOW + second * SECOND, price=p * 10**6) for p in prices]


def test_witnesses_that_disagree_near_the_reference_end_the_agreement_on_a_jump() -> None:
    rounds = Rounds()
    rounds.one(at(0, 300, 300, 300), NOW)
    rounds.one(at(1, 400, 400, 400), NOW + SECOND)
    assert int(rounds.states[0]["agreements"]) == 1
    assert rounds.one(at(2, 300, 302), NOW + 2 * SECOND)[0] == HELD
    assert int(rounds.states[0]["agreements"]) == 0


def test_one_near_and_one_far_that_witness_each_other_are_agreed() -> None:
    """In a band of 1 ppm the second is too far from the reference, and yet within 25 bps of the first."""
    rounds = Rounds(Rules(band_ppm=1, band_ppm_s=0, rearm=1))
    rounds.one(at(0, 300, 300, 300), NOW)
    votes = [
        GOOD._replace(publish_ns=NOW + SECOND),
        GOOD._replace(publish_ns=NOW + SECOND, price=300_100_000),
    ]
    assert rounds.one(votes, NOW + SECOND)[:2] == (twins.TWO, 300_000_000)


def test_what_never_had_a_price_is_not_held_however_early_it_is() -> None:
    """Time 5 is within the hold limit of time 0, which is no reference's time."""
    assert Rounds().one([], 5) == (twins.NONE, 0, 0)


def test_a_lone_primary_needs_a_reference() -> None:
    rounds = Rounds()
    assert rounds.one(at(0, 300), NOW) == (twins.NONE, 0, 0)
    assert rounds.one(at(1, 300, 300), NOW + SECOND)[0] == twins.TWO
    assert rounds.one(at(2, 301), NOW + 2 * SECOND) == (twins.PRIMARY, 301_000_000, 300_000)


def test_a_gap_is_held_with_widening_confidence_then_ends() -> None:
    """Five basis points of 300 a second are 150,000."""
    rounds = Rounds()
    rounds.one(at(0, 300, 300, 300), NOW)
    assert rounds.one([], NOW) == (HELD, 300_000_000, 300_000)
    assert rounds.one([], NOW + 2 * SECOND) == (HELD, 300_000_000, 600_000)
    assert rounds.one([], NOW + 300 * SECOND)[0] == HELD
    assert rounds.one([], NOW + 300 * SECOND + 1) == (twins.NONE, 0, 0)
    assert rounds.one([], NOW - 1) == (twins.NONE, 0, 0)


def test_a_jump_is_believed_after_agreements_in_a_row_on_new_observations() -> None:
    rounds = Rounds()
    rounds.one(at(0, 300, 300, 300), NOW)
    jumped = [rounds.one(at(s, 400, 401, 402), NOW + s * SECOND)[:2] for s in (1, 2)]
    assert jumped == [(HELD, 300_000_000)] * 2
    assert rounds.one(at(2, 400, 401, 402), NOW + 3 * SECOND)[0] == HELD
    assert rounds.one(at(4, 405, 405, 405), NOW + 4 * SECOND)[:2] == (twins.OK, 405_000_000)


@pytest.mark.parametrize("between", [[300, 300, 300], [], [500, 501, 502]])
def test_agreements_must_be_in_a_row(between: list[int]) -> None:
    """A return, a silence or another jump in between starts the count again."""
    rounds = Rounds()
    rounds.one(at(0, 300, 300, 300), NOW)
    for second in (1, 2):
        rounds.one(at(second, 400, 400, 400), NOW + second * SECOND)
    rounds.one(at(3, *between), NOW + 3 * SECOND)
    for second in (4, 5):
        assert rounds.one(at(second, 400, 400, 400), NOW + second * SECOND)[0] == HELD
    assert rounds.one(at(6, 400, 400, 400), NOW + 6 * SECOND)[:2] == (twins.OK, 400_000_000)


def test_one_far_of_three_changes_nothing_and_two_far_outvote_one() -> None:
    rounds = Rounds()
    rounds.one(at(0, 300, 300, 300), NOW)
    assert rounds.one(at(1, 300, 900, 300), NOW + SECOND)[:2] == (twins.TWO, 300_000_000)
    assert rounds.one(at(2, 300, 900, 900), NOW + 2 * SECOND)[0] == HELD
    assert rounds.one(at(3, 300, 900), NOW + 3 * SECOND)[0] == HELD


def test_only_a_vote_that_is_too_far_and_nothing_else_speaks_for_a_jump() -> None:
    """Old votes and votes of too few samples do not outweigh the primary; one of just enough does."""
    rounds = Rounds()
    rounds.one(at(0, 300, 300, 300), NOW)
    late = NOW + 20 * SECOND
    old = at(20, 300) + at(0, 400, 400)
    assert rounds.one(old, late)[:2] == (twins.PRIMARY, 300_000_000)
    thin = at(20, 300) + [vote._replace(samples=0) for vote in at(20, 400, 400)]
    assert rounds.one(thin, late)[:2] == (twins.PRIMARY, 300_000_000)
    just = at(20, 300) + [vote._replace(samples=1) for vote in at(20, 400, 400)]
    assert rounds.one(just, late)[0] == HELD
    assert rounds.twins[0].agreements == 1


def test_agreement_ends_at_the_base_band_and_counts_new_observations_only() -> None:
    """440 is within 10 % of 400 and 484.1 is not within 10 % of 440; what was counted once may start anew."""
    rounds = Rounds()
    rounds.one(at(0, 300, 300, 300), NOW)
    rounds.one(at(1, 400, 400, 400), NOW + SECOND)
    rounds.one(at(2, 440, 440, 440), NOW + 2 * SECOND)
    assert rounds.twins[0].agreements == 2
    rounds.one([v._replace(price=484_000_001) for v in at(3, 1, 1, 1)], NOW + 3 * SECOND)
    assert rounds.twins[0].agreements == 1
    rounds.one([], NOW + 4 * SECOND)
    rounds.one(at(3, 500, 500, 500), NOW + 5 * SECOND)
    assert rounds.twins[0].agreements == 1


def test_a_jump_is_decided_by_all_votes_of_its_own_market() -> None:
    """Market 1 jumps with one provider left behind, who votes too: three voices, not two."""
    rounds = Rounds(Rules(rearm=1), markets=2)
    rounds.decide([at(0, 300, 300, 300), at(0, 300, 300, 300)], NOW)
    quiet, jumped = at(1, 300, 300, 300), at(1, 400, 300, 400)
    got = rounds.decide([quiet, jumped], NOW + SECOND)
    assert [(status, price) for status, price, _ in got] == [
        (twins.OK, 300_000_000),
        (twins.OK, 400_000_000),
    ]


def test_the_band_starts_at_the_moment_of_the_reference() -> None:
    """At 1 ppm a nanosecond: nothing in the same instant nor before it, 300 a nanosecond later."""
    for later, status in ((-1, HELD), (0, HELD), (1, twins.PRIMARY)):
        rounds = Rounds(Rules(band_ppm=0, band_ppm_s=10**9))
        rounds.one(at(0, 300, 300), NOW)
        wanted = (status if later >= 0 else twins.NONE), later >= 0
        got = rounds.one([GOOD._replace(price=300_000_300)], NOW + later)
        assert (got[0], got[1] > 0) == wanted


def test_a_lone_primary_is_not_believed_about_a_jump() -> None:
    """It waits until the band is wide enough: 20 % after 200 s."""
    rounds = Rounds()
    rounds.one(at(0, 300, 300), NOW)
    for second in range(1, 6):
        assert rounds.one(at(second, 360), NOW + second * SECOND)[0] == HELD
    assert rounds.one(at(199, 360), NOW + 199 * SECOND)[0] == HELD
    assert rounds.one(at(200, 360), NOW + 200 * SECOND)[:2] == (twins.PRIMARY, 360_000_000)


round_votes = st.lists(
    st.builds(
        lambda weight, lag, price, conf, samples, valid: (weight, lag, price, conf, samples, valid),
        st.sampled_from([0, 1, 1, 1, 2, 2**32]),
        st.sampled_from([0, 0, 0, SECOND, 9 * SECOND, 11 * SECOND, -2 * SECOND]),
        st.sampled_from([300_000_000, 300_500_000, 301_000_000, 340_000_000, 400_000_000, 401_000_000]),
        st.integers(0, 300_000),
        st.sampled_from([0, 1, 3, 3]),
        st.sampled_from([0, 1, 1, 1, 1]),
    ),
    max_size=5,
)


@given(
    st.lists(
        st.tuples(st.sampled_from([0, SECOND, SECOND, 400 * SECOND]), round_votes, round_votes), max_size=8
    )
)
def test_rounds_against_the_twin(rounds) -> None:  # type: ignore[no-untyped-def]
    """Two markets side by side over several rounds; `Rounds.decide` compares everything they leave behind."""
    books = Rounds(Rules(rearm=2), markets=2)
    now_ns = NOW
    for step_ns, *markets in rounds:
        now_ns += step_ns
        votes = [[FullVote(w, now_ns - lag, *rest) for w, lag, *rest in market] for market in markets]
        books.decide(votes, now_ns)


def test_starting_rules() -> None:
    assert oracle.starting_rules().tolist() == rules_of(Rules()).tolist()
