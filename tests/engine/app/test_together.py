"""Processes that share a list of steps: each is done once, none too early, and a dead helper costs nothing."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from engine.app import together
from engine.app.together import Board, Step, helpers, work


def _plan(done: list[str], *, after: int = 2) -> list[Step]:
    acts = [partial(done.append, name) for name in ("a", "b", "fold", "calls")]
    return [Step(acts[0]), Step(acts[1]), Step(acts[2], after), Step(acts[3])]


def _never() -> bool:
    return False


def test_one_alone_does_all_in_order(tmp_path: Path) -> None:
    done: list[str] = []
    plan = _plan(done)
    board = Board(tmp_path, plan)
    work(board, plan, _never)
    assert done == ["a", "b", "fold", "calls"]
    assert board.done() == 4 and board.all_taken() and board.take() is None


def test_who_waits_does_what_need_not_wait_first(tmp_path: Path) -> None:
    plan = _plan([])
    board, other = Board(tmp_path, plan), Board(tmp_path, plan)
    assert (board.take(), other.take()) == (0, 1)
    board.finish(0)
    assert board.take() == 3, "the fold waits for step 1"
    assert board.take() is None and not board.all_taken()
    other.finish(1)
    assert (board.take(), other.take()) == (2, None)
    assert board.all_taken() and board.done() == 2


def test_two_at_once_do_each_step_once(tmp_path: Path) -> None:
    done: list[int] = []
    plan = [Step(partial(done.append, k), after=40 if k == 70 else 0) for k in range(100)]
    workers = [
        threading.Thread(target=work, args=(Board(tmp_path, plan), plan, lambda: True)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert sorted(done) == list(range(100))
    assert set(range(40)) <= set(done[: done.index(70)])


def test_what_a_dead_helper_has_taken_is_left(tmp_path: Path) -> None:
    """It ends without the fold, which waits for it: whoever called does that by itself."""
    done: list[str] = []
    plan = _plan(done)
    assert Board(tmp_path, plan).take() == 0
    work(Board(tmp_path, plan), plan, _never)
    assert done == ["b", "calls"]


@pytest.mark.parametrize("deaf", [False, True])
def test_helpers_are_gone_afterwards(deaf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "END_S", 0.2)
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN);" if deaf else ""
    code = f"import os, signal, sys, time; {ignore} open(sys.argv[1] + '/' + str(os.getpid()), 'w'); time.sleep(60)"

    def command(directory: Path) -> Sequence[str]:
        return [sys.executable, "-c", code, str(directory)]

    with helpers(command, 2) as (directory, others):
        deadline_s = time.monotonic() + 20
        while len(list(directory.iterdir())) < 2:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        pids = [int(path.name) for path in directory.iterdir()]
        assert others()
    assert not others() and not directory.exists()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_no_helper_on_one_core(tmp_path: Path) -> None:
    with helpers(lambda directory: ["never"], 0) as (_, others):
        assert not others()
    assert together.cores() >= 1
