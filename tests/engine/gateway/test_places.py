"""The places of an engine: taken before its epoch is opened, refused without a trace, given back."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.common.errors import JournalLocked, SettingsError
from engine.common.settings import Settings
from engine.gateway.places import Places
from engine.gateway.process import open_engine, open_reachable, recovered
from kernels.frames import Source, Template
from tests.engine.gateway.running import (
    Peer,
    hello,
    run,
    running,
    settings_for,
)


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


def test_the_socket_is_private_and_goes_with_the_server(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)

    async def main() -> None:
        async with running(settings):
            assert settings.engine.socket.stat().st_mode & 0o777 == 0o600
            with pytest.raises(JournalLocked):
                open_engine(settings)
        assert not settings.engine.socket.exists()
        async with running(settings) as again:
            assert again.engine.epoch == 2

    run(main)


def test_tcp_serves_the_same(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def main() -> None:
        async with running(settings_for(tmp_path, tcp=f"127.0.0.1:{port}")):
            peer = Peer(*await asyncio.open_connection("127.0.0.1", port))
            peer.writer.write(hello(Source.API))
            await peer.expect(Template.WELCOME)
            peer.close()

    run(main)


def test_a_tcp_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        async def main() -> None:
            with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
                async with running(settings_for(tmp_path, tcp=f"127.0.0.1:{port}")):
                    raise AssertionError("the port was free")

        run(main)


def test_what_lies_at_the_sockets_path_is_removed_only_if_it_is_a_dead_socket(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    path = settings.engine.socket

    async def refused(why: str) -> None:
        with pytest.raises(SettingsError, match=why):
            async with running(settings):
                raise AssertionError("the path was free")

    async def main() -> None:
        path.write_text("kept")
        await refused("no socket")
        assert path.read_text() == "kept"
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen(1)
            await refused("another process listens")
        async with running(settings):
            peer = await Peer.connect(settings)
            peer.close()

    run(main)


def test_a_socket_in_no_directory_is_told_in_one_line(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(SettingsError, match=r"engine\.socket: cannot listen on .*No such file"):
            async with running(settings_for(tmp_path, socket=tmp_path / "missing" / "engine.sock")):
                raise AssertionError("there is no such directory")

    run(main)
