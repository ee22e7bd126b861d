"""The committed frames, one of each template, against the layouts of the product."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.crc32c import seal_frames, words_of
from kernels.frames import DTYPES, Source, Template, new_frames

FILE = Path(__file__).parents[1] / "vectors" / "frame.json"
CONTENT = json.loads(FILE.read_text())
VECTORS = CONTENT["vectors"]


def test_every_template_has_its_frame() -> None:
    assert {Template(v["template"]) for v in VECTORS} == set(Template)
    assert [Template(v["template"]).name.lower() for v in VECTORS] == [v["name"] for v in VECTORS]
    assert CONTENT["count"] == len(VECTORS)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_written(vector: dict[str, Any]) -> None:
    frame = new_frames(
        Template(vector["template"]), 1, source=Source(vector["source"]), first_seq=vector["seq"]
    )
    frame["flags"], frame["market"] = vector["flags"], vector["market"]
    for name, value in vector["payload"].items():
        frame[name] = value
    seal_frames(words_of(frame), 0, 1)
    assert frame.tobytes().hex() == vector["frame"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_read(vector: dict[str, Any]) -> None:
    [frame] = np.frombuffer(bytes.fromhex(vector["frame"]), DTYPES[Template(vector["template"])])
    assert {name: int(frame[name]) for name in vector["payload"]} == vector["payload"]
    spare = [name for name in frame.dtype.names if name.startswith("spare")]
    head = {"block_length", "template", "schema", "version", "seq", "source", "flags", "market", "crc"}
    assert set(frame.dtype.names) == head | set(vector["payload"]) | set(spare)
