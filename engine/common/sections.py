"""What each section of the settings holds, and which values it takes. `engine.common.settings` reads them."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

SOCKET_PATH_BYTES_MAX = 107  # sun_path is 108 bytes with its NUL


def _split(value: object) -> object:
    """The text of an environment variable or flag as list items; other types pass."""
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _absolute(value: object) -> object:
    return Path(value).expanduser().absolute() if isinstance(value, str | Path) else value


TextList = Annotated[tuple[str, ...], BeforeValidator(_split)]
LocalPath = Annotated[Path, BeforeValidator(_absolute)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class EngineSettings(_Section):
    """The engine process: where it listens, how it groups frames, cuts its journal, and who ticks.

    ring_frames: how many frames each connection may have waiting; past that it is not read from.
    ring: file of the shared-memory transport, best under /dev/shm; none by default. ring_slots: frames it holds
    each way. ring_poll_us: pause between two looks at it; 0 only for an engine that is pinned to one core.
    busy_poll_us: so long after a group the engine asks for the next one without sleeping; 0: it sleeps at once.
    Acks come a wake-up sooner, and as long as groups follow each other that closely a core is always busy.
    reserve_accounts: room for so many more accounts, and twice as many positions, than the journal has is made
    at start. Books that outgrow it double in the middle of a group, which then takes longer.
    """

    socket: LocalPath
    tcp: str | None = None
    segment_bytes: int = Field(default=64 << 20, ge=1 << 16, le=1 << 34, multiple_of=4096)
    group_frames_max: int = Field(default=8192, ge=1, le=65536)
    ring_frames: int = Field(default=16_384, ge=1, le=1 << 20)
    ring: LocalPath | None = None
    ring_slots: int = Field(default=16384, ge=64, le=1 << 22)
    ring_poll_us: int = Field(default=1000, ge=0, le=1_000_000)
    busy_poll_us: int = Field(default=0, ge=0, le=1_000_000)
    reserve_accounts: int = Field(default=65_536, ge=0, le=1 << 27)
    clock: Literal["live", "driver"] = "live"

    @field_validator("socket")
    @classmethod
    def _fits_an_address(cls, value: Path) -> Path:
        if len(os.fsencode(value)) > SOCKET_PATH_BYTES_MAX:
            raise ValueError(f"a socket path has at most {SOCKET_PATH_BYTES_MAX} bytes; choose a shorter one")
        return value

    @field_validator("tcp")
    @classmethod
    def _is_host_and_port(cls, value: str | None) -> str | None:
        if value is None:
            return None
        host, colon, port = value.rpartition(":")
        if not (host and colon and port.isdecimal() and int(port) < 65536):
            raise ValueError("must be host:port")
        return value

    @model_validator(mode="after")
    def _ring_holds_a_group(self) -> EngineSettings:
        if self.ring_frames < self.group_frames_max:
            raise ValueError(
                f"ring_frames {self.ring_frames} is less than group_frames_max {self.group_frames_max}"
            )
        return self


class StandbySettings(_Section):
    """The standby: whether `godark run` starts one, when it writes a snapshot, when it calls an engine hung.

    hung_after_ms: age of the engine's heartbeat, 0: never. holders: followers without whose word on what they
    still need (`engine.journal.retention`) no segment is unlinked.
    """

    enabled: bool = False
    poll_ms: int = Field(default=1, ge=1, le=1000)
    hung_after_ms: int = Field(default=5000, ge=0, le=3_600_000)
    snapshot_bytes: int = Field(default=512 << 20, ge=4096)
    snapshot_s: int = Field(default=600, ge=1)
    snapshots_kept: int = Field(default=2, ge=2, le=1000)
    holders: TextList = ("relayer",)


class RelayerSettings(_Section):
    """The relayer process. No `rpc_urls`: it uses the embedded devnet. URLs may hold an access token.

    sha256: by which form of the kernels leaves are hashed; auto takes the fastest that the CPU has.
    log_keyfile: the key that signs the log's checkpoints, made on the first start. log_origin: the log's name in
    them, best the address it is served at, without scheme; a shard of it is named origin/number.
    mirror: a directory for the log once more, in pymerkle's SQLite trees (`godark mirror`); none by default.
    mirror_ms: pause between two looks at what is published.
    """

    rpc_urls: TextList = Field(default=(), repr=False)
    keyfile: LocalPath
    log_keyfile: LocalPath
    log_origin: str = Field(default="godark.local/log", pattern=r"^[!-*,-~]{1,200}$")
    page: LocalPath
    poll_ms: int = Field(default=1, ge=1, le=1000)
    rpc_poll_ms: int = Field(default=50, ge=0, le=60_000)
    inflight_max: int = Field(default=1024, ge=1, le=65536)
    rows_per_chunk: int = Field(default=6, ge=1, le=6)
    sha256: Literal["auto", "avx512", "extension", "portable"] = "auto"
    mirror: LocalPath | None = None
    mirror_ms: int = Field(default=1000, ge=10, le=3_600_000)

    @field_validator("rpc_urls")
    @classmethod
    def _are_http(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for number, url in enumerate(value, 1):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"entry {number} is not an http(s) URL with a host")
        return value


class RiskSettings(_Section):
    """The risk process: how often it sweeps every margin, and how often it checks that against everyone.

    candidates_max: how many it proposes in one sweep, and may have unacknowledged.
    """

    page: LocalPath
    sweep_ms: int = Field(default=100, ge=1, le=60_000)
    check_s: int = Field(default=10, ge=1, le=3600)
    candidates_max: int = Field(default=1024, ge=1, le=65536)
    poll_ms: int = Field(default=1, ge=1, le=1000)


class DevnetSettings(_Section):
    """The embedded chain: loopback only. Port 0 takes a free one and keeps it over restarts.

    slot_ms 0: a slot passes whenever somebody polls, for replays.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    slot_ms: int = Field(default=200, ge=0, le=60_000)
    data_dir: LocalPath

    @field_validator("host")
    @classmethod
    def _is_loopback(cls, value: str) -> str:
        try:
            loopback = ipaddress.ip_address(value).is_loopback
        except ValueError:
            loopback = value == "localhost"
        if not loopback:
            raise ValueError("must be a loopback address: the embedded chain is open to whoever reaches it")
        return value


class LogSettings(_Section):
    """`auto` writes key=value to a terminal and JSON to anything else."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


class VenueSettings(_Section):
    """The stand-in for a matching engine."""

    seed: int = Field(default=7, ge=0, lt=1 << 63)
