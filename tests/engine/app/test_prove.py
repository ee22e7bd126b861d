"""`godark prove`: from a name to a file that `verify-proof` takes; names it does not know are told in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.app.cli import execute
from relayer.core.proof_file import decode
from tests.relayer.core.fills import COMMIT
from tests.relayer.published_fills import fills, publish, settle

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("data")
    publish(found, [fills(30), fills(400, 31), fills(5, source=8)])
    settle(found, 2, [COMMIT], 55)
    return found


@pytest.fixture
def run(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """One command on the published log, from a directory of its own: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        status = execute([*arguments, *(["--data-dir", str(data_dir)] if arguments[0] == "prove" else [])])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_the_file_is_written_and_verifies(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("prove", "77")
    assert status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["fill-77.proof.json"]
    assert "godark verify-proof fill-77.proof.json" in out
    status, out, _ = run("verify-proof", "fill-77.proof.json")
    assert status == 0
    assert "77 of the matching engine" in out
    assert "batch 2 on embedded devnet, slot 55" in out


def test_what_leads_to_the_file_can_be_chosen(run: Run, tmp_path: Path, data_dir: Path) -> None:
    status, out, _ = run(
        "prove", "20", "--out", "-", "--set", "relayer.rpc_urls=http://node.example:1/secret"
    )
    assert status == 0
    file = decode(out.encode())
    assert (file.leaf.seq, file.leaf.trade_id, file.index) == (20, 200, 19)
    assert file.chain is not None
    assert file.chain.rpc == "node.example"
    assert json.loads(out)["checkpoint"].split("\n")[1] == "30"
    run("prove", "200", "--trade-id", "--out", "one")
    assert decode((tmp_path / "one").read_bytes()).leaf.seq == 20
    run("prove", "3", "--source", "8", "--out", "two")
    assert decode((tmp_path / "two").read_bytes()).index == 432
    newest = data_dir / "relayer" / "log" / "0" / "checkpoint"
    run("prove", "20", "--checkpoint", str(newest), "--out", "three")
    status, out, _ = run("verify-proof", "three", "--checkpoint", str(newest), "--json")
    assert (status, json.loads(out)["size"]) == (0, "435")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["431"], "published are some from 1 to 430"),
        (["x"], "not a valid integer"),
        (["30", "--trade-id"], "name it by its number, one of 3 of the matching engine, 3 of source 8"),
        (["31", "--trade-id"], "no fill with trade id 31"),
        (["30", "--trade-id", "--source", "1"], "--source"),
        (["3", "--checkpoint", "none"], "no such file"),
        (["3", "--out", "no/such/place"], "cannot write"),
    ],
)
def test_what_cannot_be_proven_is_one_line_and_no_file(
    run: Run, tmp_path: Path, arguments: list[str], words: str
) -> None:
    status, out, err = run("prove", *arguments)
    assert status not in (0, 70)
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_directory_without_a_log_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["prove", "1", "--data-dir", str(tmp_path)]) == 2
    assert "no published log" in capsys.readouterr().err
