"""The engine process: recover, open an epoch, compile everything, then serve on one thread."""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
import time
from typing import Any

import uvloop

from engine.common.logs import get_logger
from engine.common.ready import notify_ready
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.core.views import views_of
from engine.gateway.engine import Engine
from engine.gateway.server import serve
from engine.gateway.warm import compile_all
from engine.journal.head import HeadPage
from engine.journal.reader import JournalReader, check_witness
from engine.journal.recovery import JournalLock, Tail, harden_tail, judge_tail
from engine.journal.writer import JournalWriter
from kernels.admission import Gate, new_gate, remember
from kernels.crc32c import words_of


def recover(settings: Settings, machine: Machine, gate: Gate) -> Tail:
    """Fold the whole journal into `machine` and `gate`, judge its tail and make it durable."""
    directory = settings.data_dir / "journal"
    reader = JournalReader(directory, capacity=machine.capacity)
    try:
        while True:
            chunk = reader.read()
            frames = chunk.frames
            if not len(frames):
                break
            check_witness(chunk.witness, machine.witness, reader.cursor.position)
            machine.apply(views_of(frames), 0, len(frames))
            remember(gate, words_of(frames), frames, 0, len(frames))
    finally:
        reader.close()
    tail = judge_tail(directory, reader.cursor)
    harden_tail(directory, tail)
    return tail


def open_engine(settings: Settings) -> Engine:
    """Everything an engine needs before it may acknowledge: lock, books, new epoch, head page."""
    directory = settings.data_dir / "journal"
    lock = JournalLock(directory)
    machine = Machine()
    gate = new_gate()
    began = time.perf_counter()
    tail = recover(settings, machine, gate)
    writer = JournalWriter(
        directory,
        tail,
        segment_bytes=settings.engine.segment_bytes,
        group_frames_max=settings.engine.group_frames_max,
        time_ns=time.time_ns(),
        witness=machine.witness,
    )
    get_logger().info(
        "recovered",
        epoch=writer.epoch,
        frames=machine.state.number("ordinal"),
        torn_bytes=tail.torn_bytes,
        seconds=round(time.perf_counter() - began, 3),
    )
    head = HeadPage(directory / "head", create=True)
    return Engine(machine, gate, writer, head, lock)


def run(settings: Settings) -> None:
    """Process entry point. Every kernel is compiled or loaded before anything is acknowledged.

    Ends on SIGTERM or SIGINT after the group in hand; a failed sync ends it at once.
    """
    compile_all()
    engine = open_engine(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, engine))


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


async def _serve(settings: Settings, engine: Engine) -> None:
    loop = asyncio.get_running_loop()
    stop = loop.create_future()
    loop.set_exception_handler(functools.partial(_break_off, stop))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _finish, stop)
    server = await serve(settings, engine, stop)
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
