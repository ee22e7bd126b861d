"""The same frames give the same bytes: whatever the group size, JIT, processor or hash seed."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import subprocess
import sys

import pytest

from relayer.verify.model import Model
from tests.engine.core.builders import genesis
from tests.engine.core.fixed_run import fixed_frames, fold

ROOT = pathlib.Path(__file__).resolve().parents[3]
COUNT = 4800


@functools.cache
def here() -> dict[str, str | int]:
    """What this process makes of the list, one frame at a time."""
    return fold(fixed_frames(COUNT), 1)


@pytest.mark.parametrize("group", [7, 64, 8192])
def test_grouping_never_shows(group: int) -> None:
    assert fold(fixed_frames(COUNT), group) == here()


def test_the_model_ends_in_the_same_state() -> None:
    model = Model()
    legs = [leg for raw in fixed_frames(COUNT) for leg in model.apply(raw).legs]
    assert model.digest().hex() == here()["digest"]
    assert len(legs) > 500
    assert sum(leg.funding != 0 for leg in legs) > 50, "positions were settled"
    paid = [payment for payment in model.payments if payment.paid_e6]
    assert len(paid) > 4 and {payment.market for payment in paid} == {0, 1, 2}
    assert {payment.rate_e12 > 0 for payment in paid} == {True, False}


def test_another_list_gives_another_digest_and_witness() -> None:
    other = fold(fixed_frames(COUNT - 1), 64)
    assert other["digest"] != here()["digest"] and other["witness"] != here()["witness"]
    assert fold(genesis().frames, 64)["results"] != here()["results"]


@pytest.mark.parametrize(
    ("settings", "how"),
    [
        ({"PYTHONHASHSEED": "0"}, {"jit": True}),
        ({"PYTHONHASHSEED": "1"}, {"jit": True}),
        ({"PYTHONHASHSEED": "random"}, {"jit": True}),
        ({"NUMBA_DISABLE_JIT": "1"}, {"jit": False}),
        (
            {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_OPT": "1"},
            {"jit": True, "cpu": "generic"},
        ),
    ],
    ids=["seed-0", "seed-1", "seed-random", "jit-off", "generic-cpu"],
)
def test_another_process_ends_in_the_same_bytes(settings: dict[str, str], how: dict[str, object]) -> None:
    """The generic processor compiles the whole fold once, half a minute of a quiet core, and is then loaded from
    the cache. It does so with little optimisation: that is quicker by a third, and another compiler still."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.core.fixed_run", str(COUNT), "64"],
        cwd=ROOT,
        env={**inherited, **settings},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    compiled, result = (json.loads(line) for line in done.stdout.splitlines())
    assert {name: compiled[name] for name in how} == how
    assert result == here()
