from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.data import DataFile, Malformed
from tests.conformance.files import write
from tests.conformance.harness import Family, Vector, load_families, run
from tests.relayer.core import twin

SHARED = Path(os.environ.get("GODARK_SHARED", Path(__file__).parents[2].parent / "shared"))
LEAVES = [b"", b"\x00", b"\x10", b" !"]
HASHES = [twin.leaf(leaf) for leaf in LEAVES]


def inclusion_file(**changes: Any) -> dict[str, Any]:
    case = {
        "leafIdx": 2,
        "treeSize": 4,
        "root": twin.tree_head(HASHES).hex(),
        "leafHash": HASHES[2].hex(),
        "proof": [step.hex() for step in twin.inclusion(2, HASHES)],
        "desc": "happy path",
        "wantErr": False,
    }
    return {"kind": "inclusion", "cases": [case | changes]}


@pytest.mark.parametrize(("folder", "vectors"), [("merkle-vectors", 313), ("solana-rpc", 250)])
def test_published_data(folder: str, vectors: int, outcome: Callable[..., tuple[int, list[str]]]) -> None:
    data = SHARED / "data" / folder
    if not data.is_dir():
        pytest.skip(f"{data} is absent: set GODARK_SHARED to check against published data")
    status, lines = outcome(data)
    assert (status, lines[-1]) == (0, f"{vectors} passed, 0 failed")
    assert not [line for line in lines if line.startswith("not covered")]


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        (
            (
                "binance_cm_btcusd_perp_raw_20240808.ndjson.gz",
                "binance_cm_btcusd_perp_raw_20240809.ndjson.gz",
            ),
            ["R9 binance books 1889/1889 (godark book)"],
        ),
        (
            ("driftv2_full_exchange_markets.csv.gz", "driftv2_full_exchange_positions.csv.gz"),
            [
                "R7 drift positions, summed above 328/328 (godark audit)",
                "R7 drift whole exchange 20/20 (godark audit)",
            ],
        ),
        (("driftv2_perp_market_0_SOL_snapshots.csv.gz",), ["R5 drift state 10316/10316 (godark audit)"]),
        (
            ("driftv2_user_funding_settlements.csv.gz",),
            [
                "R6 drift settlements 1805/1805 (godark audit)",
                "  1702 of 1805 exact, the rest within 4 units",
            ],
        ),
    ],
)
def test_published_markets(
    names: tuple[str, ...],
    lines: list[str],
    tmp_path: Path,
    outcome: Callable[..., tuple[int, list[str]]],
) -> None:
    for name in names:
        path = SHARED / "data" / "market" / name
        if not path.is_file():
            pytest.skip(f"{path} is absent: set GODARK_SHARED to check against published data")
        (tmp_path / name).symlink_to(path)
    status, shown = outcome(tmp_path)
    assert (status, shown[:-1]) == (0, lines)


def test_a_capture_that_nothing_precedes_is_not_covered(
    tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]
) -> None:
    ticker = {"e": "bookTicker", "u": 5, "s": "X", "b": "1", "B": "1", "a": "2", "A": "1"}
    line = f"1723161256172216566 {json.dumps({'stream': 's', 'data': ticker})}\n"
    write(tmp_path, "binance_cm_x_raw_2.ndjson", line.encode())
    assert outcome(tmp_path) == (
        0,
        [
            (
                "not covered: binance_cm_x_raw_2.ndjson: a capture without a book snapshot, or without bookTicker "
                "to hold a rebuilt book against (R9 needs both)"
            ),
            "0 passed, 0 failed",
        ],
    )


def test_a_book_that_differs_and_a_gap_fail(
    tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]
) -> None:
    bodies = [
        {"lastUpdateId": 1, "symbol": "X", "bids": [["1", "1"]], "asks": [["3", "1"]]},
        {
            "stream": "s",
            "data": {"e": "bookTicker", "u": 2, "s": "X", "b": "2", "B": "1", "a": "3", "A": "1"},
        },
        {"stream": "s", "data": {"e": "depthUpdate", "s": "X", "U": 1, "u": 2, "pu": 0, "b": [], "a": []}},
        {"stream": "s", "data": {"e": "depthUpdate", "s": "X", "U": 9, "u": 9, "pu": 8, "b": [], "a": []}},
    ]
    text = "".join(f"1723161256172216566 {json.dumps(body)}\n" for body in bodies)
    write(tmp_path, "binance_cm_x_raw_2.ndjson", text.encode())
    status, lines = outcome(tmp_path)
    assert status == 1
    assert lines[0] == "R9 binance books 1/3 (godark book)"
    assert "row 2: published" in lines[1]


def test_a_dydx_premium_that_differs_fails(
    tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]
) -> None:
    inputs = {
        "index_price_subticks": 100,
        "asks": [[130, 10]],
        "bids": [[110, 10]],
        "impact_notional_quote": 0,
        "max_abs_premium_ppm": 10**6,
        "quantum_conversion_exponent": 0,
    }
    cases = [
        (inputs, {"premium_ppm": 100_000}),
        (inputs, {"premium_ppm": 100_001}),
        (inputs, {"error": True}),
        (inputs | {"index_price_subticks": 0}, {"error": True}),
        (inputs | {"index_price_subticks": 2**63}, {"premium_ppm": 5}),
        (inputs | {"index_price_subticks": 0}, {"premium_ppm": 5}),
    ]
    vectors = [{"id": str(k), "inputs": given, "expected": said} for k, (given, said) in enumerate(cases)]
    write(tmp_path, "d.json", {"family": "dydx_premium_from_book", "vectors": vectors})
    status, lines = outcome(tmp_path)
    assert (status, lines[-1]) == (1, "3 passed, 3 failed")
    assert "d.json: 1: published 100001 ppm, ours 100000" in lines[1]


def test_what_is_not_covered_is_listed_and_no_failure(
    tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]
) -> None:
    write(tmp_path, "inclusion.json", inclusion_file())
    write(tmp_path, "of_tomorrow.json", {"family": "of_tomorrow", "vectors": []})
    write(tmp_path, "notes.json", [1, 2])
    write(tmp_path, "rows.csv", b"time,price\n1,2\n")
    write(tmp_path, "capture.ndjson", b'17 {"a": 1}\n')
    write(tmp_path, "picture.bin", b"\xff")
    write(tmp_path, "README.md", b"words")
    status, lines = outcome(tmp_path)
    assert status == 0
    assert lines == [
        "merkle inclusion 1/1 (relayer.core.proofs.verify_inclusion)",
        "not covered: capture.ndjson: unknown lines: no rule is known for body, received",
        "not covered: notes.json: unknown document",
        "not covered: of_tomorrow.json: unknown family of_tomorrow",
        "not covered: picture.bin: unknown other",
        "not covered: rows.csv: unknown table: no rule is known for time, price",
        "1 passed, 0 failed",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"wantErr": True}, "accepted, must be rejected"),
        ({"leafIdx": 1}, "rejected (the proof leads to another root), must be accepted"),
        ({"proof": []}, "rejected (the proof has 0 hashes, 2 are needed), must be accepted"),
        ({"proof": ["zz"]}, "ValueError"),
        ({"proof": 5}, "TypeError"),
        ({"leafIdx": "2"}, "TypeError"),
        ({"root": None}, "TypeError"),
        ({"wantErr": "yes"}, "wantErr is neither true nor false"),
    ],
)
def test_a_wrong_vector_fails_by_name(
    changes: dict[str, Any], line: str, tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]
) -> None:
    write(tmp_path, "inclusion.json", inclusion_file(**changes))
    status, lines = outcome(tmp_path)
    assert status == 1
    assert lines[0] == "merkle inclusion 0/1 (relayer.core.proofs.verify_inclusion)"
    assert lines[1].startswith(f"  first mismatch: inclusion.json: 0 (happy path): {line}")
    assert lines[-1] == "0 passed, 1 failed"


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("cut.json", b'{"kind": "inclu', "malformed: cut.json: not JSON"),
        ("deep.json", b"[" * 100_000, "malformed: deep.json: not JSON"),
        ("latin.json", b'"\xff"', "malformed: latin.json: "),
        ("plain.json.gz", b"{}", "malformed: plain.json.gz: "),
        ("cut.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 9, mtime=0)[:-12], "malformed: cut.jsonl.gz: "),
        ("empty.csv", b"", "malformed: empty.csv: no header"),
        ("rows.jsonl", b"{]\n", "malformed: rows.jsonl: row 1: not JSON"),
        ("keys.json", {"kind": "inclusion"}, "  first mismatch: keys.json: malformed: KeyError: 'cases'"),
        (
            "none.json",
            {"kind": "inclusion", "cases": []},
            "  first mismatch: none.json: malformed: it holds no",
        ),
        ("list.json", {"kind": "inclusion", "cases": [3]}, "  first mismatch: list.json: malformed: Attr"),
        (
            "alone.json",
            {"tree": "absent", "inclusion": [], "consistency": []},
            "  first mismatch: alone.json: malformed: [Errno 2]",
        ),
        (
            "rpc.jsonl",
            b'{"category": "c", "source": "s", "body": []}\n{"category"\n',
            "  first mismatch: rpc.jsonl: malformed: row 2: not JSON",
        ),
    ],
)
def test_a_malformed_file_fails_by_name_and_stops_nothing(
    name: str, content: Any, line: str, tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]
) -> None:
    write(tmp_path, name, content)
    write(tmp_path, "z_inclusion.json", inclusion_file())
    status, lines = outcome(tmp_path)
    assert status == 1
    assert [shown for shown in lines if shown.startswith(line)]
    assert "Traceback" not in "\n".join(lines)
    passed, failed = (int(word) for word in lines[-1].split() if word.isdecimal())
    assert passed >= 1
    assert failed == 1


def answer(error: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "error": error}


def test_an_answer_put_into_the_wrong_class_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    solana = next(family for family in load_families() if family.name == "solana rpc")
    bodies = [
        answer({"code": -32005, "message": "behind"}),
        answer({"code": -32602, "message": "bad"}),
        answer({"code": -32002, "message": "Transaction simulation failed: Blockhash not found"}),
        answer("text"),
        {"jsonrpc": "2.0", "id": 1, "method": "getSlot"},
        [{"jsonrpc": "2.0", "id": 1, "result": 5}, answer("text")],
        {"request": {"method": "getSlot"}, "response": {"jsonrpc": "2.0", "id": 1, "result": 5}},
    ]
    assert [solana.check(body) for body in bodies] == [None] * len(bodies)
    monkeypatch.setattr("relayer.chain.answers.parse_answer", lambda body, status: None)
    assert None not in [solana.check(body) for body in bodies]


def test_a_wrong_path_exits_2(tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]) -> None:
    absent = tmp_path / "absent"
    assert outcome(tmp_path, absent) == (2, [f"no such directory: {absent}"])
    assert outcome()[0] == 2


def test_a_single_file_and_a_folder_below_are_read(
    tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]
) -> None:
    below = tmp_path / "below"
    below.mkdir()
    path = write(below, "inclusion.json", inclusion_file())
    write(tmp_path, ".hidden.json", b"{")
    assert outcome(path)[1][-1] == outcome(tmp_path)[1][-1] == "1 passed, 0 failed"


def test_a_product_bug_is_a_failure_of_its_vector(tmp_path: Path) -> None:
    def crash(content: int) -> str | None:
        return None if content else str(1 // content)

    family = Family("f", "m", lambda file: True, lambda file: [Vector("a", 1), Vector("b", 0)], crash)
    write(tmp_path, "any.json", {})
    lines = list(run([tmp_path], [family]).lines())
    assert lines[0] == "f 1/2 (m)"
    assert lines[1].startswith("  first mismatch: any.json: b: ZeroDivisionError")
    assert lines[2] == "1 passed, 1 failed"


def test_a_family_without_its_product_is_not_covered(tmp_path: Path) -> None:
    family = Family(
        "f", "m", lambda file: True, lambda file: [], lambda _: None, ("relayer.core.none", "x.y")
    )
    write(tmp_path, "any.json", {})
    report = run([tmp_path], [family])
    assert report.not_covered == ["any.json: f needs relayer.core.none"]
    assert report.failed == 0


def test_tables_and_captures_are_read_by_row(tmp_path: Path) -> None:
    table = DataFile(write(tmp_path, "t.csv.gz", gzip.compress(b'a,b\n1,"x,y"\n')))
    assert (table.header, list(table.records())) == (("a", "b"), [{"a": "1", "b": "x,y"}])
    capture = DataFile(write(tmp_path, "c.ndjson", b'17 {"a": 1}\n'))
    assert list(capture.records()) == [{"received": 17, "body": {"a": 1}}]
    with pytest.raises(Malformed, match="row 2: 1 columns, the header has 2"):
        list(DataFile(write(tmp_path, "u.csv", b"a,b\n1,2\n3\n")).records())
