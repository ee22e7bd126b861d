"""Where an engine can be reached: its socket, port and ring, taken before it opens an epoch.

So a start that is refused one of them has written nothing. Nobody gets in before `engine.gateway.server.serve`
listens: until then a socket that is taken answers as one whose engine has died.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

from engine.common.errors import SettingsError
from engine.common.sections import EngineSettings
from engine.gateway.ring import EngineEnd

BACKLOG = 100
"""Peers that may wait to be let in."""


class Places:
    """The Unix socket (mode 0600), and if asked the TCP port and the ring, bound and not yet listening.

    SettingsError: one of them cannot be had; the others are free again.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._path, self._tcp = settings.socket, settings.tcp
        with ExitStack() as taken:
            self.unix = _bind_unix(self._path)
            self._file = _file_at(self._path)
            taken.callback(self._remove)
            taken.callback(self.unix.close)
            self.tcp = _bind_tcp(settings.tcp) if settings.tcp is not None else []
            for port in self.tcp:
                taken.callback(port.close)
            self.ring = _make_ring(settings)
            if self.ring is not None:
                taken.callback(self.ring.close)
            self._taken = taken.pop_all()

    def listen(self) -> None:
        """Let peers in: the event loop would not tell us that the system refuses.

        SettingsError: another process listens at the port, or has put its own socket where ours was.
        """
        self.unix.listen(BACKLOG)
        if _file_at(self._path) != self._file:
            raise SettingsError(
                f"engine.socket: another process took {self._path} meanwhile; stop it or name another path"
            )
        try:
            for port in self.tcp:
                port.listen(BACKLOG)
        except OSError as error:
            raise _cannot_listen(str(self._tcp), error) from error

    def close(self) -> None:
        """Give all of them back; the socket is removed if it is still ours."""
        self._taken.close()

    def _remove(self) -> None:
        if _file_at(self._path) == self._file:
            self._path.unlink()


def _file_at(path: Path) -> tuple[int, int] | None:
    """Which file lies at `path`; None if there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _bind_unix(path: Path) -> socket.socket:
    _free(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        bound.bind(str(path))
    except OSError as error:
        bound.close()
        raise SettingsError(f"engine.socket: cannot listen on {path}: {error.strerror or error}") from error
    finally:
        os.umask(mask)
    return bound


def _free(path: Path) -> None:
    """Remove the socket that an engine which is gone left at `path`. SettingsError: something else is there."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise SettingsError(
            f"engine.socket: {path} is there and no socket; move it away or name another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        refused = probe.connect_ex(str(path))
    if refused not in (errno.ECONNREFUSED, errno.ENOENT):
        raise SettingsError(f"engine.socket: another process listens on {path}; stop it or name another path")
    path.unlink(missing_ok=True)


def _cannot_listen(place: str, error: OSError) -> SettingsError:
    return SettingsError(f"engine.tcp: cannot listen on {place}: {error.strerror or error}")


def _bind_tcp(place: str) -> list[socket.socket]:
    """A socket for every address that `place` (host:port) stands for."""
    host, _, port = place.rpartition(":")
    with ExitStack() as taken:
        bound = []
        try:
            found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                one = taken.enter_context(socket.socket(family, kind, protocol))
                # What a dead engine's last connections still hold does not keep the next one out; a listener does.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind(address)
                bound.append(one)
        except OSError as error:
            raise _cannot_listen(place, error) from error
        taken.pop_all()
    return bound


def _make_ring(settings: EngineSettings) -> EngineEnd | None:
    if settings.ring is None:
        return None
    if settings.ring_poll_us == 0 and len(os.sched_getaffinity(0)) != 1:
        raise SettingsError(
            "engine.ring_poll_us: 0 polls without pause and needs a core of its own; start the engine under"
            " `taskset -c CORE`, or set it to 1 or more",
            field="engine.ring_poll_us",
        )
    return EngineEnd(settings.ring, settings.ring_slots)
