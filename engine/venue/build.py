"""Frames from arrays: what the venues and the replay clock send. Seqs are given; sealing comes last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernels.crc32c import seal_frames, words_of
from kernels.frames import FRAME, Source, Template, TickKind, TransferKind, key_words, new_frames

SECOND_NS: Final = 1_000_000_000
HOUR_S: Final = 3_600
Frames = NDArray[np.void]


def sealed(parts: Sequence[Frames]) -> Frames:
    """The parts one after the other as one FRAME array with CRCs."""
    words = np.concatenate([words_of(part) for part in parts])
    seal_frames(words, 0, len(words))
    return words.view(FRAME).reshape(-1)


def interleaved(parts: Sequence[tuple[NDArray[np.int64], Frames]], count: int) -> Frames:
    """One sealed FRAME array of `count` frames: each part's frames go to its positions, which cover all."""
    words = np.empty((count, 8), np.int64)
    for positions, frames in parts:
        words[positions] = words_of(frames)
    seal_frames(words, 0, count)
    return words.view(FRAME).reshape(-1)


def account_frames(keys: Sequence[bytes], first_seq: int) -> Frames:
    """One registration for each 32-byte key, in order: the engine numbers them 1, 2, ..."""
    frames = new_frames(Template.ACCOUNT, len(keys), source=Source.MATCHING, first_seq=first_seq)
    for row, key in enumerate(keys):
        for word, value in enumerate(key_words(key)):
            frames[f"key{word}"][row] = value
    return frames


def deposit_frames(quotes_e6: Sequence[int], first_seq: int) -> Frames:
    """The first deposit of accounts 0, 1, 2, ... in 1e-6 USDC: event 1 of each."""
    frames = new_frames(Template.TRANSFER, len(quotes_e6), source=Source.CHAIN, first_seq=first_seq)
    frames["flags"] = int(TransferKind.DEPOSIT)
    frames["quote_e6"] = quotes_e6
    frames["event_no"] = 1
    frames["account"] = np.arange(len(quotes_e6))
    frames["index"] = -1
    frames["market"] = -1
    return frames


def fill_frames(trades: NDArray[np.void], first_seq: int, shift_ns: int = 0) -> Frames:
    """One fill for each trade (recording.TRADE), `shift_ns` later than recorded."""
    frames = new_frames(Template.FILL, len(trades), source=Source.MATCHING, first_seq=first_seq)
    for name in ("trade_id", "price", "size", "maker", "taker", "market"):
        frames[name] = trades[name]
    frames["time_ns"] = trades["time_ns"] + shift_ns
    return frames


def open_tick(now_ns: int, first_seq: int) -> Frames:
    """The tick that starts the clock: nothing before it, nothing sampled."""
    frames = new_frames(Template.TICK, 1, source=Source.CLOCK, first_seq=first_seq)
    frames["now_ns"] = now_ns
    frames["kind"] = int(TickKind.OPEN)
    return frames


def second_ticks(now_ns: NDArray[np.int64], prev_ns: NDArray[np.int64], first_seq: int) -> Frames:
    """SECOND ticks; the interval of each is the time since the one before."""
    frames = new_frames(Template.TICK, len(now_ns), source=Source.CLOCK, first_seq=first_seq)
    frames["now_ns"] = now_ns
    frames["prev_ns"] = prev_ns
    frames["interval_ns"] = now_ns - prev_ns
    frames["kind"] = int(TickKind.SECOND)
    return frames
