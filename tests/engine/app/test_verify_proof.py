"""`godark verify-proof`: what it says, what it refuses in one line, and what it does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.app import verify_proof
from engine.app.cli import ROOT, execute
from engine.common.errors import ChecksFailed
from relayer.core import note
from relayer.core.checkpoint import Checkpoint, encode_text
from relayer.core.proof_file import encode
from relayer.verify.proof_chain import Committed
from tests.relayer.core.fills import (
    COMMIT,
    KEY,
    ORIGIN,
    SIGNER,
    STRANGER,
    leaves_of,
    log_of,
    proof_file,
    signed,
)

LEAVES = leaves_of(13)
FILE = proof_file(LEAVES, 5)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Verify a proof file with more arguments: exit status, stdout, stderr."""

    def verify(data: bytes, *arguments: str) -> tuple[int, str, str]:
        path = tmp_path / "proof.json"
        path.write_bytes(data)
        status = execute(["verify-proof", str(path), *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return verify


def test_a_good_proof_is_told_with_what_it_does_not_prove(run: Run) -> None:
    status, out, err = run(encode(FILE))
    assert (status, err) == (0, "")
    leaf = FILE.leaf
    for value in (leaf.seq, leaf.trade_id, leaf.price, abs(leaf.size), leaf.market, KEY):
        assert str(value) in out
    assert f"{leaf.seq} of the matching engine" in out
    assert f"the taker {'buys' if leaf.size > 0 else 'sells'}" in out
    assert "the file says batch 3 on devnet, slot 1,234" in out
    proven, _, not_proven = out.partition("\nnot proven")
    assert "number 5 is this fill" in proven
    assert "Whoever holds the key above" in proven
    for words in ("whose key", "on chain", "agreed", "every fill", "same log"):
        assert words in not_proven


def test_what_is_known_from_elsewhere_makes_it_worth_more(run: Run, tmp_path: Path) -> None:
    held = tmp_path / "checkpoint"
    held.write_bytes(FILE.checkpoint)
    status, out, _ = run(encode(FILE), "--key", KEY, "--checkpoint", str(held))
    assert status == 0
    assert "The holder of your key" in out
    assert "the same as yours" in out
    assert "whose key" not in out


def test_another_source_and_side_and_no_place_on_chain_are_told(run: Run) -> None:
    rows = LEAVES.copy()
    rows[5, 2] = 8
    rows[5, 40:48] = 255  # size -1
    _, out, _ = run(encode(proof_file(rows, 5, chain=None)))
    assert f"{FILE.leaf.seq} of source 8" in out
    assert "size 1 in its units; the taker sells" in out
    assert "the file names no transaction" in out


def test_the_result_for_machines(run: Run) -> None:
    status, out, _ = run(encode(FILE), "--json")
    result = json.loads(out)
    assert status == 0
    assert result["ok"] is True
    assert (result["index"], result["size"], result["seq"]) == ("5", "13", str(FILE.leaf.seq))
    assert result["root"] == log_of(LEAVES).root().hex()
    assert result["committed"] is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"{}", "has no"),
        (b"\xff\xd8\xff", "not UTF-8"),
        (b" " * 300_000, "longer than"),
        (encode(FILE).replace(b'"index": "5"', b'"index": "4"'), "another root"),
        (encode(FILE).replace(b'"index": "5"', b'"index": "13"'), "not in a log of 13"),
        (encode(FILE).replace(b'"index": "5"', b'"index": "-1"'), "index: not a decimal number"),
        (encode(replace(FILE, proof=FILE.proof[1:])), "3 hashes, 4 are needed"),
        (encode(replace(FILE, leaf=FILE.leaf._replace(price=1))), "another root"),
        (encode(replace(FILE, checkpoint=signed(log_of(LEAVES), 13, STRANGER))), "no signature by"),
    ],
)
def test_a_wrong_file_is_one_line_and_no_success(run: Run, data: bytes, words: str) -> None:
    status, out, err = run(data)
    assert status not in (0, 70)
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert len(err) < 300


def test_a_file_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    status, _, err = run(encode(FILE), "--checkpoint", str(tmp_path / "none"))
    assert (status, err.count("\n")) == (2, 1)
    assert str(tmp_path / "none") in err
    assert "no such file" in err
    (tmp_path / "long").write_bytes(FILE.checkpoint + b"\n" * 300_000)
    status, _, err = run(encode(FILE), "--checkpoint", str(tmp_path / "long"))
    assert (status, err.count("\n")) == (2, 1)
    assert "no proof, no checkpoint" in err


def test_another_key_and_a_split_view_are_refused(run: Run, tmp_path: Path) -> None:
    status, _, err = run(encode(FILE), "--key", note.verifier_key(ORIGIN, STRANGER))
    assert status == 5
    assert "no signature by" in err
    held = tmp_path / "checkpoint"
    held.write_bytes(signed(log_of(leaves_of(13, seed=2)), 13))
    status, _, err = run(encode(FILE), "--checkpoint", str(held))
    assert status not in (0, 70)
    assert "split view" in err


def test_the_chain_is_asked_only_where_it_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, err = run(encode(FILE), "--payer", "somebody")
    assert status == 2
    assert "--rpc" in err
    status, _, err = run(encode(replace(FILE, chain=None)), "--rpc", "http://127.0.0.1:9")
    assert status == 5
    assert "names no transaction" in err
    status, _, err = run(encode(FILE), "--rpc", "http://127.0.0.1:9")
    assert status == 7
    assert err.count("\n") == 1
    committed = Committed(COMMIT, 77, str(SIGNER.public_key))

    async def answer(*_: object) -> Committed:
        return committed

    monkeypatch.setattr("relayer.verify.proof_chain.read_commit", answer)
    status, out, _ = run(encode(FILE), "--rpc", "http://127.0.0.1:9")
    assert status == 0
    assert "finalized in slot 77" in out
    assert f"committed on chain in slot 77, signed by {committed.payer}" in out
    assert f"that {committed.payer} settles for the exchange" in out
    status, out, _ = run(encode(FILE), "--rpc", "http://127.0.0.1:9", "--payer", committed.payer)
    assert "settles for the exchange" not in out
    status, _, err = run(encode(FILE), "--rpc", "http://127.0.0.1:9", "--payer", "somebody")
    assert status == ChecksFailed.exit_code
    assert "not by somebody" in err


def test_nothing_in_a_file_reaches_the_terminal_as_a_command(run: Run) -> None:
    name = "log\x9b2J"
    body = encode_text(Checkpoint(ORIGIN, 13, log_of(LEAVES).root()))
    file = replace(FILE, checkpoint=note.sign(body, name, SIGNER), key=note.verifier_key(name, SIGNER))
    status, _, err = run(encode(file))
    assert status == 5
    assert "\\u009b2J" in err
    assert "\x9b" not in err
    assert verify_proof.plain("a\x9b2Jb\u202ec d") == "a\\u009b2Jb\\u202ec d"


def test_it_needs_neither_kernels_nor_settings_nor_a_network(tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    path.write_bytes(encode(FILE))
    code = (
        "import sys; from engine.app.cli import execute; "
        f"status = execute(['verify-proof', {str(path)!r}]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(status)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0
    assert "not proven" in ended.stdout
    heavy = {"numba", "numpy", "pydantic", "structlog", "rich", "aiohttp", "asyncio", "orjson", "sqlite3"}
    assert not heavy & set(ended.stderr.split())
