"""Hostile peers against a running engine: others are served as before, and its memory stays flat."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import pytest

from engine.common.settings import Settings
from engine.gateway.session import sealed
from kernels import frames as f
from kernels.frames import FRAME, FRAME_BYTES, Fault, Source, StatusKind, Template
from tests.engine.gateway.running import hello, refused_fills
from tests.engine.journal.material import flow
from tests.faults import harness
from tests.faults.driver import Driver, Gone
from tests.faults.nursery import Child, Nursery

pytestmark = pytest.mark.end_to_end

FRAMES = flow(steps=12, fills=110)
GROWTH_BYTES = 50 << 20
FLOOD_BYTES = 64 << 20
LONG_FLOOD_BYTES = 2 << 30


class Served(NamedTuple):
    """An engine, and a peer that does as it should."""

    settings: Settings
    engine: Child
    driver: Driver


@contextmanager
def _served(nursery: Nursery, place: Path) -> Iterator[Served]:
    """Afterwards all frames are booked once, and the engine is as large as when it had booked the first."""
    settings = harness.small(place / "data", tcp=f"127.0.0.1:{_free_port()}")
    engine = nursery.start(settings)
    assert engine.ready() is not None, engine.said()
    driver = Driver(settings.engine.socket, FRAMES, timeout_s=10)
    driver.connect()
    driver.send(400)
    driver.settle()
    before = engine.rss_bytes()
    try:
        yield Served(settings, engine, driver)
        driver.run()
        last = driver.status()
        assert last.ordinal >= len(FRAMES) and "Traceback" not in engine.said()
        assert engine.rss_bytes() - before < GROWTH_BYTES, (before, engine.rss_bytes())
    finally:
        driver.close()
        engine.stop()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _peer(settings: Settings, *, tcp: bool = False) -> socket.socket:
    if not tcp:
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(str(settings.engine.socket))
        return peer
    assert settings.engine.tcp is not None
    host, _, port = settings.engine.tcp.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5)


def _serves(served: Served, count: int = 50) -> None:
    """The well-behaved one is answered."""
    served.driver.send(count)
    served.driver.settle()


def _push(peer: socket.socket, data: bytes, wanted: int) -> int:
    """Write as much of `data`, over and over, as is taken without waiting long; bytes taken."""
    taken, at = 0, 0
    peer.settimeout(0.3)
    while taken < wanted:
        try:
            n = peer.send(data[at : at + (1 << 20)])
        except (TimeoutError, OSError):
            return taken
        taken, at = taken + n, (at + n) % len(data)
    return taken


@pytest.mark.parametrize("wanted", [FLOOD_BYTES, pytest.param(LONG_FLOOD_BYTES, marks=pytest.mark.slow)])
def test_a_flood_by_a_peer_that_reads_nothing(nursery: Nursery, place: Path, wanted: int) -> None:
    """Resends whose answers nobody takes, from a peer that never reads: it is stopped by its own full pipe."""
    with _served(nursery, place) as served:
        with _peer(served.settings) as peer:
            peer.sendall(hello(Source.RISK, last_output=-1))
            frames = bytearray(refused_fills(1, 1000))
            taken = _push(peer, _risk(frames), wanted)
            assert taken >= FRAME_BYTES * 1000
            _serves(served)
        with _peer(served.settings) as peer:
            status = _status_requests(4096)
            taken = _push(peer, status, wanted)
            assert taken < 16 << 20, "answers are kept for a peer that takes none"
            _serves(served)


def _risk(frames: bytearray) -> bytes:
    """The same frames as of another source, sealed anew."""
    rows = np.frombuffer(frames, FRAME)
    rows["source"] = int(Source.RISK)
    return sealed(rows)


def _status_requests(count: int) -> bytes:
    rows = f.new_frames(Template.STATUS_REQUEST, count, source=Source.ENGINE, first_seq=0)
    rows["seq"], rows["kind"] = 0, int(StatusKind.DIGEST)
    return sealed(rows)


def test_resets_in_the_middle_of_a_frame(nursery: Nursery, place: Path) -> None:
    """A peer that is reset mid-frame comes back and goes on: each whole frame counted once, no half one."""
    with _served(nursery, place) as served:
        done = 0
        for cut in range(1, 40):
            with _peer(served.settings, tcp=True) as peer:
                peer.sendall(hello(Source.RISK, acked=0, last_output=-1))
                welcome = peer.recv(FRAME_BYTES, socket.MSG_WAITALL)
                done = struct.unpack_from("<q", welcome, 16)[0]
                assert done >= cut - 1
                data = _risk(bytearray(refused_fills(done + 1, 2)))
                peer.sendall(data[: FRAME_BYTES + cut])
                assert struct.unpack_from("<q", peer.recv(FRAME_BYTES, socket.MSG_WAITALL), 16)[0] == done + 1
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with _peer(served.settings) as peer:
            peer.sendall(hello(Source.RISK, last_output=-1))
            assert struct.unpack_from("<q", peer.recv(FRAME_BYTES, socket.MSG_WAITALL), 16)[0] == done + 1


def test_frames_byte_by_byte(nursery: Nursery, place: Path) -> None:
    with _served(nursery, place) as served, _peer(served.settings, tcp=True) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in hello(Source.RISK, last_output=-1) + _risk(bytearray(refused_fills(1, 3))):
            peer.sendall(bytes([byte]))
        peer.recv(FRAME_BYTES, socket.MSG_WAITALL)
        acked = 0
        while acked < 3:
            acked = struct.unpack_from("<q", peer.recv(FRAME_BYTES, socket.MSG_WAITALL), 16)[0]
        _serves(served)


def test_a_thousand_connections(nursery: Nursery, place: Path) -> None:
    """Mute, half open or gone again: who has said hello is served, and somebody new gets in and is served too."""
    with _served(nursery, place) as served, ExitStack() as stack:
        for k in range(1000):
            peer = _peer(served.settings, tcp=k % 2 == 0)
            stack.callback(peer.close)
            if k % 3 == 0:
                with suppress(OSError):
                    peer.sendall(hello(Source.RISK)[: k % FRAME_BYTES])
            if k % 5 == 0:
                with suppress(OSError):
                    peer.shutdown(socket.SHUT_WR)
            if k % 100 == 0:
                _serves(served)
        late = Driver(served.settings.engine.socket, FRAMES[:0], timeout_s=10)
        late.hellos = (Source.RISK,)
        late.connect()
        late.close()


def test_a_mute_peer_and_one_that_says_it_again_and_again(nursery: Nursery, place: Path) -> None:
    """A source is one session's: whoever asks for it meanwhile is refused by name, a hundred times if need be."""
    with _served(nursery, place) as served, _peer(served.settings):
        thief = Driver(served.settings.engine.socket, FRAMES[:0], timeout_s=10)
        for _ in range(100):
            with pytest.raises(Gone):
                thief.connect()
        assert thief.faults == ["SOURCE_TAKEN"] * 100
        thief.close()
        _serves(served)


def test_each_breach_has_its_name_and_one_line_in_the_log(nursery: Nursery, place: Path) -> None:
    good = refused_fills(1, 1)
    late = np.frombuffer(bytearray(hello(Source.RISK)), FRAME)
    late["version"] += 1
    breaches = {
        "wrong_schema": sealed(late),
        "bad_crc": good[:-1] + bytes([good[-1] ^ 1]),
        "no_hello": good,
        "source_forbidden": hello(0),
        "lost_data": hello(Source.RISK, acked=5),
        "source_taken": hello(Source.MATCHING),
        "gap": hello(Source.RISK) + _risk(bytearray(refused_fills(7, 1))),
    }
    with _served(nursery, place) as served:
        for name, data in breaches.items():
            with _peer(served.settings) as peer:
                peer.settimeout(5)
                peer.sendall(data)
                answer = b""
                while part := peer.recv(1 << 12):
                    answer += part
                code = np.frombuffer(answer[-FRAME_BYTES:], f.DTYPES[Template.FAULT])["code"][0]
                assert Fault(int(code)).name == name.upper()
        said = [line for line in served.engine.said().splitlines() if "session_fault" in line]
        assert [orjson.loads(line)["code_name"] for line in said] == list(breaches)
