"""What a log line looks like, and that no secret gets into one."""

from __future__ import annotations

import enum
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from solders.keypair import Keypair

from engine.common.logs import REDACTED, StderrLogger, configure, get_logger, redact
from engine.common.sections import LogSettings

ROOT = Path(__file__).resolve().parents[3]


def _clean(**values: object) -> dict[str, object]:
    return dict(redact(None, "info", values))


def test_a_json_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(format="json"), process="engine")
    get_logger().info("batch_closed", batch=7, root="ab" * 32, path=Path("/x"))
    out, err = capfd.readouterr()
    row = orjson.loads(err)
    assert out == ""
    assert err.count("\n") == 1
    assert (row["event"], row["level"], row["process"], row["batch"]) == ("batch_closed", "info", "engine", 7)
    assert (row["root"], row["path"]) == ("ab" * 32, "/x")
    assert row["timestamp"].endswith("Z")


def test_a_text_line_and_the_level(capfd: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(format="text", level="warning"), process="relayer")
    get_logger().info("quiet")
    get_logger().warning("late", slot=3)
    err = capfd.readouterr().err
    assert "quiet" not in err
    assert "late" in err
    assert "slot=3" in err


def test_not_a_terminal_means_json(capfd: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(), process="engine")
    get_logger().error("x")
    assert orjson.loads(capfd.readouterr().err)["event"] == "x"


def test_a_canary_key_in_every_form_stays_out(capfd: pytest.CaptureFixture[str]) -> None:
    pair = Keypair.from_seed(bytes(range(32)))
    secret = bytes(pair)
    configure(LogSettings(format="json"), process="signer")
    log = get_logger()
    log.info("a", pair=pair, raw=secret, seed=secret[:32], listed=list(secret), nested={"deep": [secret]})
    log.info("b", key=secret.hex(), private_key_b58=str(pair), secret=str(pair), keyfile_token="t0ken-canary")
    try:
        raise ValueError("no values here")
    except ValueError:
        signer = pair  # noqa: F841  (a local that a verbose traceback would print)
        log.exception("c")
    err = capfd.readouterr().err
    for form in (str(pair), secret.hex(), secret[:32].hex(), str(list(secret))[1:40], "t0ken-canary"):
        assert form not in err
    assert "Traceback" in err
    assert err.count(REDACTED) >= 5


def test_what_is_public_is_printed() -> None:
    pair = Keypair.from_seed(bytes(32))
    clean = _clean(public_key=str(pair.pubkey()), pubkey=pair.pubkey(), event="signed", short=b"\x01\x02")
    assert clean == {
        "public_key": str(pair.pubkey()),
        "pubkey": str(pair.pubkey()),
        "event": "signed",
        "short": "0102",
    }


def test_values_are_bounded_and_of_known_types() -> None:
    class Colour(enum.Enum):
        RED = 1

    clean = _clean(
        long="x" * 10_000, many=list(range(1000)), odd=object(), colour=Colour.RED, error=KeyError("k")
    )
    assert len(str(clean["long"])) < 2100
    many = clean["many"]
    assert isinstance(many, list)
    assert many[-1] == "… 1000 items"
    assert (clean["odd"], clean["colour"], clean["error"]) == ("<object>", "RED", "KeyError: 'k'")
    deep: list[object] = []
    deep.append(deep)
    assert "<list>" in str(_clean(deep=deep))


def test_a_reader_that_went_away_ends_nothing() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    StderrLogger(write_fd).msg("lost")
    os.close(write_fd)


def test_a_full_pipe_loses_lines_and_does_not_wait() -> None:
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    logger = StderrLogger(write_fd)
    for _ in range(100):
        logger.msg("x" * 4096)
    assert len(os.read(read_fd, 1 << 20)) <= 65536
    os.close(read_fd)
    os.close(write_fd)


def test_stdout_stays_clean_in_a_process_of_its_own() -> None:
    code = (
        "from engine.common.logs import *; from engine.common.sections import LogSettings\n"
        "configure(LogSettings(), 'engine'); get_logger().warning('hello')"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, timeout=30, check=True)
    assert done.stdout == b""
    assert orjson.loads(done.stderr)["event"] == "hello"


def test_a_full_disk_loses_the_line_and_nothing_else() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        StderrLogger(full.fileno()).msg("journal_full")
    closed = os.open("/dev/null", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            StderrLogger(closed).msg("lost")
    finally:
        os.close(closed)
