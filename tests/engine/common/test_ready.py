"""One line, once, and nothing without a supervisor."""

from __future__ import annotations

import os

import pytest

from engine.common.ready import READY_BYTES_MAX, READY_FD, notify_ready, notify_waiting


def test_one_json_line_then_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    read_fd, write_fd = os.pipe()
    monkeypatch.setenv(READY_FD, str(write_fd))
    notify_ready({"port": 4711, "name": "devnet"})
    notify_ready({"port": 1})
    with os.fdopen(read_fd, "rb") as pipe:
        assert pipe.read() == b'{"port":4711,"name":"devnet"}\n'
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(write_fd)


def test_nothing_happens_without_a_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(READY_FD, raising=False)
    notify_ready({"port": 1})


def test_a_line_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    read_fd, write_fd = os.pipe()
    monkeypatch.setenv(READY_FD, str(write_fd))
    with pytest.raises(ValueError, match="at most 4096"):
        notify_ready({"x": "y" * 5000})
    os.close(read_fd)
    os.close(write_fd)


def test_waiting_is_told_until_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    read_fd, write_fd = os.pipe()
    monkeypatch.setenv(READY_FD, str(write_fd))
    notify_waiting("no room")
    notify_waiting("x" * 2 * READY_BYTES_MAX)
    notify_ready({"port": 1})
    notify_waiting("too late")
    with os.fdopen(read_fd, "rb") as pipe:
        lines = pipe.readlines()
    assert lines[0] == b'{"waiting":"no room"}\n' and lines[2:] == [b'{"port":1}\n']
    assert len(lines[1]) < READY_BYTES_MAX
