"""Settings: one TOML file, the environment, flags; validated once, then frozen.

Precedence: flags over environment over file over defaults. The environment names a field as
GODARK_SECTION__FIELD (GODARK_DATA_DIR for the one field outside a section), a flag as
`--set section.field=value`. A list is written with commas. Relative paths are taken from the working
directory. A supervisor hands its children the finished settings in GODARK_EFFECTIVE, so that a whole group
runs on the same ones.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from engine.common.errors import SettingsError

ENV_PREFIX = "GODARK_"
EFFECTIVE = "GODARK_EFFECTIVE"
FILE_NAME = "godark.toml"
SOCKET_PATH_BYTES_MAX = 107  # sun_path is 108 bytes with its NUL

Origins = dict[str, str]


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


_DERIVED = {
    ("engine", "socket"): "engine.sock",
    ("relayer", "keyfile"): "relayer/key.json",
    ("relayer", "log_keyfile"): "relayer/log-key.json",
    ("relayer", "page"): "relayer/page",
    ("risk", "page"): "risk/page",
    ("devnet", "data_dir"): "devnet",
}


class Settings(BaseSettings):
    """Everything a process of the group is told. Building one reads no file or environment: `load` does."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        enable_decoding=False,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
    )

    data_dir: LocalPath
    engine: EngineSettings
    standby: StandbySettings = StandbySettings()
    relayer: RelayerSettings
    risk: RiskSettings
    devnet: DevnetSettings
    logs: LogSettings = LogSettings()
    venue: VenueSettings = VenueSettings()

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)

    @model_validator(mode="before")
    @classmethod
    def _derive_paths(cls, values: Any) -> Any:
        """Paths nobody named lie under data_dir."""
        out = {name: dict(v) if isinstance(v, Mapping) else v for name, v in dict(values).items()}
        data_dir = out.setdefault("data_dir", "data")
        for (section, field), below in _DERIVED.items():
            table = out.setdefault(section, {})
            if isinstance(table, dict) and isinstance(data_dir, str | Path):
                table.setdefault(field, Path(data_dir) / below)
        return out

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    def to_env(self) -> dict[str, str]:
        """The one environment variable from which a child's `load` restores exactly these settings."""
        return {EFFECTIVE: orjson.dumps(self.model_dump(mode="json")).decode()}


class _TextSource(EnvSettingsSource):
    """Reads fields from `text` (field path in lower case, joined by `__` → value)."""

    def __init__(self, text: Mapping[str, str]) -> None:
        self._text = text
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {(ENV_PREFIX + name).lower(): value for name, value in self._text.items()}


def load(
    config: Path | None = None, overrides: list[str] | None = None, data_dir: Path | None = None
) -> Settings:
    """The effective settings. `config` None: `godark.toml` if the working directory has one.

    SettingsError names the field, where its value came from, and the rule it breaks.
    """
    return load_with_origins(config, overrides, data_dir)[0]


def load_with_origins(
    config: Path | None = None, overrides: list[str] | None = None, data_dir: Path | None = None
) -> tuple[Settings, Origins]:
    """As `load`, with the origin of every field that was set (a field without one has its default)."""
    merged: dict[str, Any] = {}
    origins: Origins = {}
    effective = os.environ.get(EFFECTIVE)
    if effective is None:
        path = config if config is not None else Path(FILE_NAME)
        if config is not None or path.exists():
            _merge(merged, origins, _read_file(path), lambda _: f"file {path}")
        environment = _environment(os.environ)
        _merge(merged, origins, _nested(environment), lambda p: f"environment {_variable(p)}")
    else:
        _merge(merged, origins, _read_effective(effective), lambda _: "the supervisor")
    flags = _flags(overrides or [])
    _merge(merged, origins, _nested(flags), lambda p: f"flag --set {p}")
    if data_dir is not None:
        _merge(merged, origins, {"data_dir": str(data_dir)}, lambda _: "flag --data-dir")
    try:
        return Settings(**merged), origins
    except ValidationError as error:
        raise _explain(error, origins) from None


def fields() -> list[str]:
    """Every field's dotted name."""
    names: list[str] = []
    for name, info in Settings.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            names += [f"{name}.{field}" for field in section.model_fields]
        else:
            names.append(name)
    return names


def _variable(path: str) -> str:
    return ENV_PREFIX + path.replace(".", "__").upper()


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that name a setting: GODARK_DATA_DIR and everything with a section.

    Others of our prefix belong to the machinery (GODARK_READY_FD), unless they look like a slip.
    """
    found: dict[str, str] = {}
    for variable, value in environ.items():
        if not variable.startswith(ENV_PREFIX):
            continue
        name = variable[len(ENV_PREFIX) :].lower()
        if "__" in name or name == "data_dir":
            found[name] = value
        elif difflib.get_close_matches(name, ["data_dir"], cutoff=0.85):
            raise SettingsError(f"environment {variable}: no such setting; did you mean GODARK_DATA_DIR?")
    return found


def _flags(overrides: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for override in overrides:
        name, equals, value = override.partition("=")
        if not (name and equals):
            raise SettingsError(f"flag --set {name}: must be section.field=value")
        found[name.strip().lower().replace(".", "__")] = value
    return found


def _nested(text: Mapping[str, str]) -> dict[str, Any]:
    """Field paths as nested tables. A name no field has stays in, so that it is refused and not dropped."""
    tables = dict(_TextSource(text)())
    known = {name.replace(".", "__") for name in fields()}
    for name, value in text.items():
        if name not in known:
            section, nested, field = name.partition("__")
            table = tables.setdefault(section, {} if nested else value)
            if isinstance(table, dict):
                table.setdefault(field, value)
    return tables


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SettingsError(f"file {path}: not found", source=str(path))
    try:
        return dict(TomlConfigSettingsSource(Settings, toml_file=path).toml_data)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"file {path}: not TOML: {error}", source=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"file {path}: cannot be read: {error}", source=str(path)) from None


def _read_effective(text: str) -> dict[str, Any]:
    try:
        return dict(orjson.loads(text))
    except (ValueError, TypeError):
        raise SettingsError(f"environment {EFFECTIVE}: not the settings of a supervisor; unset it") from None


def _leaves(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if isinstance(value, Mapping) and not prefix:
            yield from _leaves(value, f"{name}.")
        else:
            yield prefix + name, value


def _merge(into: dict[str, Any], origins: Origins, tables: Mapping[str, Any], origin: Any) -> None:
    """Lay `tables` over `into`, noting for every leaf where it came from."""
    for path, value in _leaves(tables):
        section, dot, field = path.partition(".")
        if dot:
            table = into.setdefault(section, {})
            if not isinstance(table, dict):
                raise SettingsError(f"{section}: from {origins[section]}: is a section, not a value")
            table[field] = value
        else:
            into[section] = value
        origins[path] = origin(path)


def _explain(error: ValidationError, origins: Origins) -> SettingsError:
    """The first broken rule as one line. Values are left out: a URL may hold a token."""
    first = error.errors(include_url=False, include_input=False)[0]
    path = ".".join(str(part) for part in first["loc"][:2])
    inside = [origin for name, origin in origins.items() if name.startswith(f"{path}.")]
    source = origins.get(path) or (inside[0] if inside else "default")
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path, fields(), n=1)
        rule = "no such setting; " + (f"did you mean {near[0]}?" if near else "godark config lists them")
    else:
        rule = first["msg"].removeprefix("Value error, ")
    return SettingsError(f"{path}: from {source}: {rule}", field=path, source=source)
