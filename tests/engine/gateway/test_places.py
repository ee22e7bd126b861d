"""The places of an engine: taken before its epoch is opened, refused without a trace, given back."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.common.errors import SettingsError
from engine.common.settings import Settings
from engine.gateway.places import Places
from engine.gateway.process import open_reachable, recovered
from kernels.frames import Source, Template
from tests.engine.gateway.running import Peer, hello, run, running, settings_for


@contextmanager
def taken_port() -> Iterator[str]:
    """host:port that another process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield f"127.0.0.1:{other.getsockname()[1]}"


def answer(kind: int, address: object) -> int:
    with socket.socket(kind, socket.SOCK_STREAM) as peer:
        return peer.connect_ex(address)


def written(settings: Settings) -> dict[str, bytes]:
    """Every file of the journal but the lock."""
    journal = settings.data_dir / "journal"
    return {str(p): p.read_bytes() for p in journal.rglob("*") if p.is_file() and p.name != "lock"}


def serve_once(settings: Settings) -> int:
    """Start and end an engine that serves; its epoch."""
    epochs = []

    async def main() -> None:
        async with running(settings) as r:
            epochs.append(r.engine.epoch)

    run(main)
    return epochs[0]


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("what", ["socket", "tcp", "ring"])
def test_a_start_that_is_refused_a_place_has_written_nothing(tmp_path: Path, what: str, begun: bool) -> None:
    good = settings_for(tmp_path, segment_bytes=1 << 16)
    if begun:
        assert serve_once(good) == 1
    before = written(good)
    no_ring = tmp_path / "no ring"
    no_ring.write_text("kept")
    with taken_port() as place:
        wrong = {"socket": tmp_path / "missing" / "s", "tcp": place, "ring": no_ring}[what]
        engine = good.engine.model_copy(update={what: wrong})
        with pytest.raises(SettingsError, match=rf"engine\.{what}: "):
            open_reachable(good.model_copy(update={"engine": engine}), *recovered(good))
    assert written(good) == before
    assert not good.engine.socket.exists(), "what could be had is given back"
    assert serve_once(good) == 1 + begun, "the next start opens the epoch that was not opened, on a free lock"


def test_nobody_gets_in_before_the_engine_listens(tmp_path: Path) -> None:
    with taken_port() as place:
        pass
    settings = settings_for(tmp_path, tcp=place)
    host, port = place.split(":")
    places, engine = open_reachable(settings, *recovered(settings))
    try:
        assert engine.epoch == 1
        assert answer(socket.AF_UNIX, str(settings.engine.socket)) == errno.ECONNREFUSED
        assert answer(socket.AF_INET, (host, int(port))) == errno.ECONNREFUSED
    finally:
        places.close()
        engine.close()
    assert not settings.engine.socket.exists()


def test_a_socket_that_another_put_in_its_place_is_told_and_left(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    path = settings.engine.socket
    places = Places(settings.engine)
    other = Places(settings.engine)  # what is bound and not listening looks like what a dead engine left
    with pytest.raises(SettingsError, match="another process took"):
        places.listen()
    places.close()
    assert path.exists()
    other.listen()
    other.close()
    assert not path.exists()


def test_a_port_that_another_listens_on_since_is_told_in_one_line(tmp_path: Path) -> None:
    with taken_port() as place:
        host, port = place.split(":")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((host, int(port)))
        places = Places(settings_for(tmp_path, tcp=place).engine)
        other.listen(1)
        with pytest.raises(SettingsError, match=f"cannot listen on {place}"):
            places.listen()
        places.close()


def test_every_address_of_a_name_is_served(tmp_path: Path) -> None:
    with taken_port() as place:
        port = int(place.split(":")[1])

    async def main() -> None:
        async with running(settings_for(tmp_path, tcp=f"localhost:{port}")) as r:
            addresses = {
                found[4][0] for found in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)
            }
            bound = {one.getsockname()[0] for one in r.server._places.tcp}
            assert bound == addresses and bound
            peer = await Peer.connect(r.settings)
            peer.writer.write(hello(Source.API))
            await peer.expect(Template.WELCOME)
            peer.close()

    run(main)
