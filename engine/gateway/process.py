"""The engine process: recover, open an epoch, compile everything, then serve on one thread."""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import uvloop

from engine.common.errors import JournalFull
from engine.common.logs import get_logger
from engine.common.memory import settle_memory
from engine.common.ready import notify_ready, notify_waiting
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.follower import Follower
from engine.gateway.engine import Engine
from engine.gateway.places import Places
from engine.gateway.server import serve
from engine.gateway.warm import compile_all
from engine.journal.head import HeadPage
from engine.journal.recovery import JournalLock, Tail, take_tail
from engine.journal.writer import JournalWriter
from kernels.admission import Gate, new_gate

_PAGE_BYTES = 4096
_SETTLE_S = 0.05
"""Of a start: who waits for the first ack waits for this too. A standby has all the time."""
_ROOM_PAUSE_S, _ROOM_TOLD_S = 0.5, 10.0
_Made = TypeVar("_Made")


def recover(settings: Settings, machine: Machine, gate: Gate) -> Tail:
    """Bring a new `machine` and `gate` to the journal's end, judge its tail and make it durable.

    From the newest good snapshot on, or from the start. Every CRC is checked; the digest is a standby's to check,
    which does so whenever one starts: here it would be a tenth of the time to the first ack.
    Room is made for twice what `make_room` will ask, as the journal's end may add to the books itself.
    """
    directory = settings.data_dir / "journal"
    follower = Follower(
        directory,
        live=False,
        from_snapshot=True,
        check_digest=False,
        spare=2 * settings.engine.reserve_accounts,
        machine=machine,
        gate=gate,
    )
    try:
        while follower.poll() is not None:
            continue
    finally:
        follower.close()
    return take_tail(directory, follower.cursor)


def make_room(machine: Machine, accounts: int) -> None:
    """Have the books hold so many more accounts, and twice as many positions, in memory that is really there.

    A page that is first touched in the loop costs a microsecond, a huge one a hundred.
    """
    machine.state.reserve(accounts)
    for rows in machine.books:
        if rows.nbytes >= _PAGE_BYTES:
            rows.reshape(-1).view(np.uint8)[::_PAGE_BYTES] |= 0


def recovered(settings: Settings) -> tuple[Machine, Gate, Tail, JournalLock]:
    """All that an engine needs before it opens a new epoch: books and gate at a durable tail, and the lock.

    JournalLocked, and what `recover` raises.
    """
    lock = JournalLock(settings.data_dir / "journal")
    machine, gate = Machine(), new_gate()
    began = time.perf_counter()
    tail = recover(settings, machine, gate)
    make_room(machine, settings.engine.reserve_accounts)
    get_logger().info(
        "recovered",
        epoch=tail.epoch,
        frames=machine.state.number("ordinal"),
        torn_bytes=tail.torn_bytes,
        seconds=round(time.perf_counter() - began, 3),
    )
    return machine, gate, tail, lock


def open_engine(settings: Settings) -> Engine:
    """An engine of its own process, without sockets: what a start does up to the new epoch."""
    return open_epoch(settings, *recovered(settings))


def open_reachable(
    settings: Settings, machine: Machine, gate: Gate, tail: Tail, lock: JournalLock
) -> tuple[Places, Engine]:
    """Take the engine's places, then open its epoch: whoever is refused one of them has written nothing.

    SettingsError: a place cannot be had; the journal is free again.
    """
    try:
        places = Places(settings.engine)
    except BaseException:
        lock.release()
        raise
    try:
        return places, open_epoch(settings, machine, gate, tail, lock)
    except BaseException:
        places.close()
        raise


def open_epoch(settings: Settings, machine: Machine, gate: Gate, tail: Tail, lock: JournalLock) -> Engine:
    """An engine whose books stand at `tail`, in a new epoch and a new segment. It holds the lock from now on.

    Where the disk has no room for that it waits for some; until then nobody is listening.
    """
    directory = settings.data_dir / "journal"
    writer = _when_there_is_room(
        lambda: JournalWriter(
            directory,
            tail,
            segment_bytes=settings.engine.segment_bytes,
            group_frames_max=settings.engine.group_frames_max,
            time_ns=time.time_ns(),
            witness=machine.witness,
        )
    )
    head = _when_there_is_room(lambda: HeadPage(directory / "head", create=True))
    return Engine(machine, gate, writer, head, lock)


def _when_there_is_room(make: Callable[[], _Made]) -> _Made:
    """What `make` returns, once it finds room on the disk. Told once in the log, and to the supervisor."""
    began_s, told_s = time.monotonic(), -1.0
    while True:
        try:
            made = make()
            if told_s >= 0:
                get_logger().info("journal_has_room", waited_s=round(time.monotonic() - began_s, 1))
            return made
        except JournalFull as error:
            if told_s < 0:
                get_logger().error("journal_full", reason=error.line(), action="waiting for room")
            if time.monotonic() - told_s > _ROOM_TOLD_S:
                told_s = time.monotonic()
                notify_waiting(error.line())
            time.sleep(_ROOM_PAUSE_S)


def run(settings: Settings) -> None:
    """Process entry point. Every kernel is compiled or loaded before anything is acknowledged.

    Ends on SIGTERM or SIGINT after the group in hand; a failed sync ends it at once.
    """
    gc.disable()  # what is made from here on stays: looking for garbage in it takes a tenth of the start
    compile_all()
    places, engine = open_reachable(settings, *recovered(settings))
    gc.freeze()
    settle_memory(_SETTLE_S)
    serve_until_stopped(settings, places, engine)


def serve_until_stopped(settings: Settings, places: Places, engine: Engine) -> None:
    """Serve an open engine on a loop of this thread until SIGTERM, SIGINT or an error; closes it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, places, engine))


def _finish(stop: asyncio.Future[None]) -> None:
    if not stop.done():
        stop.set_result(None)


def _break_off(stop: asyncio.Future[None], loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """End the process on an error in a turn of the loop: what it had admitted is neither journaled nor forgotten.

    Errors of one connection have no handle; they end that connection only.
    """
    error = context.get("exception")
    if "handle" in context and isinstance(error, Exception) and not stop.done():
        stop.set_exception(error)
    else:
        loop.default_exception_handler(context)


async def _serve(settings: Settings, places: Places, engine: Engine) -> None:
    loop = asyncio.get_running_loop()
    stop = loop.create_future()
    loop.set_exception_handler(functools.partial(_break_off, stop))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _finish, stop)
    server = await serve(settings, engine, places, stop)
    gc.collect()
    gc.freeze()
    gc.disable()
    notify_ready({"socket": str(settings.engine.socket), "epoch": engine.epoch})
    try:
        await stop
    finally:
        server.close()
        engine.close()
    get_logger().info("stopped", frames=engine.ordinal(), epoch=engine.epoch)
