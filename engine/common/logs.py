"""Structured logs on stderr: key=value for a terminal, one JSON object per line for anything else.

A line is built in the calling thread and written by one `write` call: no queue, no lock, no thread. What
is logged passes `redact` first, so a secret handed over by mistake is not printed, and no line grows
without bound.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from enum import Enum
from pathlib import PurePath
from typing import Any, cast

import orjson
import structlog

from engine.common.errors import NO_ROOM
from engine.common.sections import LogSettings

REDACTED = "[redacted]"
TEXT_CHARS_MAX = 2048
ITEMS_MAX = 32
DEPTH_MAX = 4
LINE_BYTES_MAX = 65536

_SECRET_LENGTHS = (32, 64)
_SECRET_NAME = re.compile(
    r"(^|[_.-])(key|keys|keypair|secret|secrets|password|passphrase|token|mnemonic|authorization|private\w*)$",
    re.IGNORECASE,
)
_PUBLIC_NAME = re.compile(r"(public|pub)[_.-]?key$", re.IGNORECASE)
# solders types whose text form is public by definition; `str(Keypair)` would be the private key.
_PUBLIC_TYPES = frozenset({"Pubkey", "Signature", "Hash"})


class StderrLogger:
    """Writes each line to a descriptor in one call. A closed or full pipe, or a full disk, loses the line only."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def msg(self, line: str | bytes) -> None:
        data = line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace")
        try:
            os.write(self._fd, data[:LINE_BYTES_MAX] + b"\n")
        except (BrokenPipeError, BlockingIOError):
            return
        except OSError as error:
            # What is logged then is that very thing; the process must live on to wait for room.
            if error.errno not in NO_ROOM:
                raise

    log = debug = info = warn = warning = error = critical = fatal = exception = msg


def _plain(value: object, depth: int) -> object:
    """A copy of `value` made only of types that are safe to print; anything else becomes its type's name."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= TEXT_CHARS_MAX else value[:TEXT_CHARS_MAX] + "…"
    if isinstance(value, bytes | bytearray | memoryview):
        raw = bytes(value)
        return REDACTED if len(raw) in _SECRET_LENGTHS else _plain(raw.hex(), depth)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, BaseException):
        return _plain(f"{type(value).__name__}: {value}", depth)
    if type(value).__name__ in _PUBLIC_TYPES:
        return str(value)
    if depth >= DEPTH_MAX:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        return _plain_items(value, depth)
    if isinstance(value, list | tuple | set | frozenset):
        if len(value) in _SECRET_LENGTHS and all(type(v) is int and 0 <= v < 256 for v in value):
            return REDACTED
        head = [_plain(item, depth + 1) for _, item in zip(range(ITEMS_MAX), value, strict=False)]
        return head if len(value) <= ITEMS_MAX else [*head, f"… {len(value)} items"]
    return f"<{type(value).__name__}>"


def _plain_items(items: Mapping[Any, object], depth: int) -> dict[str, object]:
    out: dict[str, object] = {}
    for name, value in items.items():
        text = str(name)
        secret = _SECRET_NAME.search(text) and not _PUBLIC_NAME.search(text)
        out[text] = REDACTED if secret and not isinstance(value, bool) else _plain(value, depth + 1)
    return out


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: drop what may be a secret, cut what is long.

    Refused: bytes and byte lists of length 32 or 64 (log a digest as hex), names that end like a key's, and
    every object of an unknown type. Tracebacks asked for by `exc_info` stay, they hold no values.
    """
    exc_info = event.pop("exc_info", None)
    clean = _plain_items(event, 0)
    if exc_info:
        clean["exc_info"] = exc_info
    return clean


def _wants_json(settings: LogSettings) -> bool:
    if settings.format == "auto":
        return not sys.stderr.isatty()
    return settings.format == "json"


def configure(settings: LogSettings, process: str) -> None:
    """Set up logging for this process; every line carries `process`. Call once, before the first line."""
    renderer: structlog.typing.Processor
    if _wants_json(settings):
        renderer = structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event))
    else:
        # The default exception formatter prints local variables, and those may hold a key.
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        logger_factory=lambda *_: StderrLogger(2),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(process=process)


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """The process's logger: `log.info("batch_closed", batch=7, fills=12)`."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger())
