"""One nursery for all fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import harness
from tests.faults.nursery import Nursery


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """A process that forks engines."""
    made = Nursery(tmp_path_factory.mktemp("nursery"))
    yield made
    made.close()


@pytest.fixture
def shimmed(nursery: Nursery) -> Nursery:
    """A nursery whose children's calls to the system can be made to fail."""
    if not nursery.shimmed:
        pytest.skip("no C compiler: the preload shim cannot be built")
    return nursery


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory."""
    with harness.scratch() as path:
        yield path
