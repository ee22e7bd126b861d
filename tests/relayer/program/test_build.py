"""What is committed is what the source gives; what Python says of the programs is what their headers say."""

from __future__ import annotations

import hashlib
import re
import struct

import pytest

from relayer.core.leaf import LEAF_BYTES
from relayer.core.log import SHARD_LEAVES
from relayer.core.rfc9162 import EMPTY_ROOT
from relayer.program import build
from relayer.program.build import DIGEST, HERE, PROGRAM, digest_line
from relayer.program.errors import ProgramError
from relayer.program.linker.syscalls import NAMES
from tests.relayer.program.objects import needs_clang

ACCOUNTS = (HERE / "position" / "accounts.h").read_text()
DISCRIMINATORS = {
    "INITIALISE": "global:initialise",
    "COMMIT_BATCH": "global:commit_batch",
    "VERIFY_FILL": "global:verify_fill",
    "EXCHANGE": "account:Exchange",
    "COMMIT": "account:Commit",
    "INITIALISED": "event:Initialised",
    "BATCH_COMMITTED": "event:BatchCommitted",
    "FILL_VERIFIED": "event:FillVerified",
}


def test_the_committed_digest_is_that_of_the_committed_program() -> None:
    assert DIGEST.read_text() == digest_line(PROGRAM.read_bytes())


@needs_clang
def test_the_source_gives_the_committed_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert build.build() == PROGRAM.read_bytes(), (
        "another release of clang 19, or the source changed: build again"
    )
    assert build.main(["--check"]) == 0
    assert capsys.readouterr().out == "as built\n"


@needs_clang
def test_a_program_that_differs_is_said_and_left(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / PROGRAM.name
    other.write_bytes(PROGRAM.read_bytes() + b"\0")
    monkeypatch.setattr(build, "PROGRAM", other)
    assert build.main(["--check"]) == 1
    assert "differs" in capsys.readouterr().out
    assert other.read_bytes() == PROGRAM.read_bytes() + b"\0"


@needs_clang
def test_what_a_build_writes(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "DIGEST", tmp_path / "digest")
    monkeypatch.setattr(build, "PROGRAM", tmp_path / PROGRAM.name)
    assert build.main([]) == 0
    assert (tmp_path / PROGRAM.name).read_bytes() == PROGRAM.read_bytes()
    assert (tmp_path / "digest").read_text() == DIGEST.read_text() == capsys.readouterr().out


def test_without_clang_the_build_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "compiler", lambda: None)
    assert build.main([]) == 2
    assert capsys.readouterr().err == "clang-19 is not installed: apt-get install clang-19\n"
    assert build.main(["--chekc"]) == 2


def test_the_program_is_in_the_version_that_clusters_take() -> None:
    assert struct.unpack_from("<I", PROGRAM.read_bytes(), 48) == (3,)


def test_errors_of_the_header_and_of_python() -> None:
    rows = re.findall(r"^\s+([A-Z_]+) = (\d+)", (HERE / "include" / "errors.h").read_text(), re.MULTILINE)
    assert [(name, int(number)) for name, number in rows] == [
        ("OK", 0),
        *((error.name, error.value) for error in ProgramError),
    ]


def test_discriminators_are_anchors() -> None:
    rows = dict(re.findall(r"^#define ([A-Z_]+) (0x[0-9a-f]{16})ULL$", ACCOUNTS, re.MULTILINE))
    expected = {
        name: int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
        for name, text in DISCRIMINATORS.items()
    }
    assert {name: int(value, 16) for name, value in rows.items()} == expected
    assert len(set(expected.values())) == len(expected)


def test_numbers_that_both_sides_know() -> None:
    (words,) = re.findall(r"EMPTY_ROOT = \{\s*\{(.*?)\}\}", ACCOUNTS, re.DOTALL)
    found = [int(word, 16) for word in re.findall(r"0x([0-9a-f]{16})ULL", words)]
    assert struct.pack("<4Q", *found) == EMPTY_ROOT
    assert re.findall(r"#define LEAF_BYTES (\d+)", ACCOUNTS) == [str(LEAF_BYTES)]
    assert [1 << int(bits) for bits in re.findall(r"#define SHARD_LEAVES \(1ULL << (\d+)\)", ACCOUNTS)] == [
        SHARD_LEAVES
    ]


def test_the_linker_knows_the_syscalls_that_the_header_declares() -> None:
    text = (HERE / "include" / "syscalls.h").read_text()
    assert set(re.findall(r"^u64 (sol_\w+)\(", text, re.MULTILINE)) == set(NAMES)
