"""The audit of a journal: which hours it computes whole, where it stops, what it does with a bad journal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import JournalDamaged, WitnessMismatch
from engine.core.apply import Machine
from engine.core.cross import locked_of
from engine.core.views import views_of
from engine.venue.simulator import Simulator
from kernels.crc32c import seal_frames, words_of
from kernels.frames import FRAME, SettingKind, Source, Template, TransferKind, new_frames
from relayer.verify import books as books_module
from relayer.verify import model_prices
from relayer.verify.batches import PlainBatches
from relayer.verify.books import Audit, BooksEvidence, survey
from tests.engine.journal.material import Frames, append, open_writer

from .material import HOUR_NS, SECOND_NS, run_frames, write_journal

FIRST_HOUR = 472_222


def hours_frames(fills: list[int]) -> Frames:
    """Whole hours of ticks, the last tick on the hour; in hour k `fills[k]` fills, once every five minutes."""
    venue = Simulator(3, markets=1, accounts=4, observation_age_ns=400 * SECOND_NS)
    start_ns = FIRST_HOUR * HOUR_NS
    parts = [venue.genesis(start_ns), venue.tick(start_ns), venue.register()]
    for second in range(1, 3600 * len(fills) + 1):
        now_ns = start_ns + second * SECOND_NS
        if second % 300 == 10:
            parts.append(venue.step(now_ns, fills[second // 3600]))
        parts.append(venue.tick(now_ns))
    return np.concatenate(parts).view(FRAME)


def written(directory: Path, frames: Frames, group: int = 400) -> tuple[Path, Machine]:
    """A journal of these frames, and the machine that wrote it."""
    machine = Machine()
    writer = open_writer(directory)
    append(writer, frames, [group] * (len(frames) // group + 1), machine)
    writer.close()
    return directory, machine


def audit(directory: Path, upto: int | None = None) -> BooksEvidence:
    return Audit(directory, PlainBatches(6), upto=upto).run()


def spoken(evidence: BooksEvidence) -> dict[str, int]:
    return {name: n for name, n in evidence.differences.counts.items() if n}


def test_survey_counts_fills_by_hour(tmp_path: Path) -> None:
    directory, _ = written(tmp_path / "journal", hours_frames([1, 4, 2]))
    fills, first, last = survey(directory, None)
    assert {hour - FIRST_HOUR: n for hour, n in fills.items() if n} == {0: 12, 1: 48, 2: 24}
    assert (first, last) == (FIRST_HOUR, FIRST_HOUR + 3)


def test_an_empty_journal_is_well(tmp_path: Path) -> None:
    directory, _ = written(tmp_path / "journal", run_frames()[:0])
    evidence = audit(directory)
    assert (evidence.ordinal, evidence.booked, evidence.funding_hours, spoken(evidence)) == (0, 0, 0, {})


@pytest.mark.parametrize(
    ("fills", "full"),
    [([2], 1), ([2, 3], 2), ([1, 2, 3], 3), ([1, 1, 5, 1, 1], 3), ([5, 1, 1, 1], 3), ([0, 0, 0, 0, 1], 3)],
)
def test_three_hours_are_computed_whole_and_light_hours_agree(
    tmp_path: Path, fills: list[int], full: int
) -> None:
    directory, machine = written(tmp_path / "journal", hours_frames(fills))
    evidence = audit(directory)
    assert evidence.hours_in_full == full
    assert evidence.funding_hours == len(fills)
    assert (spoken(evidence), evidence.residual) == ({}, 0)
    assert evidence.model_digest == evidence.fold_digest == machine.state.digest()


def cross_frames() -> tuple[Frames, int]:
    """Five hours of two markets, account 1 cross in both. Every five minutes it asks for a
    unit more than it may draw, and for half of what it may.

    Returns (frames, how many draws were taken).
    """
    venue = Simulator(3, markets=2, accounts=4, observation_age_ns=400 * SECOND_NS)
    start_ns = FIRST_HOUR * HOUR_NS
    machine, parts, taken = Machine(), [], 0

    def add(frames: Frames) -> bool:
        parts.append(frames.view(FRAME))
        return not machine.apply(views_of(parts[-1].copy()), 0, len(frames)).results["refusal"].any()

    def request(template: Template, seq: int, flags: int = 0, **fields: int) -> bool:
        frame = new_frames(template, 1, source=Source.API, first_seq=seq)
        frame["flags"], frame["account"] = flags, 1
        for name, value in fields.items():
            frame[name] = value
        seal_frames(words_of(frame), 0, 1)
        return add(frame)

    for frames in (venue.genesis(start_ns), venue.tick(start_ns), venue.register()):
        add(frames)
    for m in (0, 1):
        request(Template.SETTING, m + 1, market=m, kind=int(SettingKind.MARGIN_MODE), value=1, nonce=m + 1)
    for second in range(1, 5 * 3600 + 1):
        now_ns = start_ns + second * SECOND_NS
        if second % 300 == 10:
            add(venue.step(now_ns, 5 if 7200 <= second < 10800 else 1))
        if second % 300 == 200:
            books = machine.books
            reach = int(books.accounts[1]["free_e6"]) - locked_of(books, 1)
            for quote in (reach + 1, max(1, reach // 2)):
                seq, nonce = (
                    int(books.sources[Source.API]["last_seq"]) + 1,
                    int(books.accounts[1]["nonce"]) + 1,
                )
                draw = {"market": -1, "quote_e6": quote, "event_no": nonce}
                taken += request(Template.TRANSFER, seq, TransferKind.WITHDRAWAL, **draw)
        add(venue.tick(now_ns))
    return np.concatenate(parts), taken


def test_light_hours_judge_cross_positions_by_the_marks_of_their_markets(tmp_path: Path) -> None:
    frames, taken = cross_frames()
    directory, machine = written(tmp_path / "journal", frames)
    evidence = audit(directory)
    assert evidence.hours_in_full == 3 and taken > 20
    assert (spoken(evidence), evidence.residual) == ({}, 0)
    assert evidence.model_digest == machine.state.digest()


def test_paid_is_the_same_whichever_hours_are_light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, _ = written(tmp_path / "journal", hours_frames([2, 1, 1, 1, 3]))
    light = audit(directory)
    monkeypatch.setattr(books_module, "FULL_HOURS", 5)
    whole = audit(directory)
    assert (light.hours_in_full, whole.hours_in_full) == (3, 5)
    assert light.funding_paid_e6 == whole.funding_paid_e6 > 0
    assert light.model_digest == whole.model_digest


@pytest.mark.parametrize("group", [1, 37, 512])
def test_groups_and_segments_do_not_show(tmp_path: Path, group: int) -> None:
    expected = write_journal(tmp_path / "one")
    directory, _ = written(tmp_path / "other", run_frames(), group)
    evidence = audit(directory)
    assert evidence.model_digest == evidence.fold_digest == expected
    assert spoken(evidence) == {}


def test_upto_ends_the_audit_there(tmp_path: Path) -> None:
    frames = run_frames()
    directory, _ = written(tmp_path / "journal", frames, 200)
    evidence = audit(directory, upto=1 + 3 * 201)
    assert evidence.ordinal == 600
    assert spoken(evidence) == {}
    machine = Machine()
    machine.apply(views_of(frames[:600].copy()), 0, 600)
    assert evidence.model_digest == machine.state.digest()


def test_refused_fills_are_counted_and_in_no_batch(tmp_path: Path) -> None:
    frames = run_frames().copy()
    fills = np.flatnonzero(frames["template"] == int(Template.FILL))
    frames["market"][fills[5]] = 9
    seal_frames(words_of(frames), 0, len(frames))
    directory, machine = written(tmp_path / "journal", frames)
    batches = PlainBatches(6)
    evidence = Audit(directory, batches).run()
    assert (evidence.refused, evidence.booked) == (1, len(fills) - 1)
    assert batches.log.size == len(fills) - 1
    assert spoken(evidence) == {}
    assert evidence.model_digest == machine.state.digest()


@pytest.mark.parametrize("offset", [70, 1000, 64 * 300 + 24])
def test_a_damaged_byte_ends_the_audit_by_name(tmp_path: Path, offset: int) -> None:
    directory, _ = written(tmp_path / "journal", run_frames(), 200)
    first = min(p for p in directory.iterdir() if p.is_file())
    data = bytearray(first.read_bytes())
    data[offset] ^= 1
    first.write_bytes(data)
    with pytest.raises(JournalDamaged, match=first.name):
        audit(directory)


def test_an_engine_that_booked_otherwise_is_found_by_its_witness(tmp_path: Path) -> None:
    """Every CRC of the journal holds; what the engine made of its frames is not what we make of them."""
    frames = run_frames().copy()
    machine = Machine()
    writer = open_writer(tmp_path / "journal")
    append(writer, frames[:400], [400], machine)
    machine.books.witness[0] ^= 1
    append(writer, frames[400:], [400] * 10, machine)
    writer.close()
    with pytest.raises(WitnessMismatch):
        audit(tmp_path / "journal")


def test_a_wrong_price_of_a_full_hour_speaks_against_funding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One second's basis off by one in the model, in an hour that is computed whole."""
    directory, _ = written(tmp_path / "journal", hours_frames([2]))
    honest = model_prices.forget_samples
    seen: list[int] = []

    def premium_off(market: model_prices.Market) -> None:
        honest(market)
        seen.append(1)
        market.premium_sum_e12 += len(seen) == 1

    monkeypatch.setattr(model_prices, "forget_samples", premium_off)
    assert set(spoken(audit(directory))) == {"funding"}
