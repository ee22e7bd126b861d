"""Rooms to run commands in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import running


@pytest.fixture
def room() -> Iterator[running.Room]:
    """A room of its own for a test."""
    with running.room() as made:
        yield made
