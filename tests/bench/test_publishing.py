"""The benchmark of publishing measures what it says, and notices an answer that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import publishing
from relayer.core.tile_log import TileLog


def test_a_small_run_answers_rightly() -> None:
    budgets = list(publishing.run(2048))
    assert [b.name for b in budgets] == [
        "a batch of 1 published",
        "a batch of 2 published",
        "a start on 518 published leaves",
    ]
    assert all(b.answer_checked for b in budgets)
    assert all(ratio > 0 for b in budgets for ratio in b.ratios.values())


def test_a_log_that_reads_back_as_another_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = publishing.Published(tmp_path)
    log.batch(3)
    assert log.reads_back()
    monkeypatch.setattr(TileLog, "root", lambda _, size=None: bytes(32))
    with pytest.raises(Exception, match="not the root that was signed"):
        log.reads_back()
