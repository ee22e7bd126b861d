"""Settings: one TOML file, the environment, flags; validated once, then frozen.

Precedence: flags over environment over file over defaults. The environment names a field as
GODARK_SECTION__FIELD (GODARK_DATA_DIR for the one field outside a section), a flag as
`--set section.field=value`. A list is written with commas. Relative paths are taken from the working
directory. A supervisor hands its children the finished settings in GODARK_EFFECTIVE, so that a whole group
runs on the same ones.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import (
    BaseModel,
    ValidationError,
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
from engine.common.sections import (
    DevnetSettings,
    EngineSettings,
    LocalPath,
    LogSettings,
    RelayerSettings,
    RiskSettings,
    StandbySettings,
    VenueSettings,
)

ENV_PREFIX = "GODARK_"
EFFECTIVE = "GODARK_EFFECTIVE"
FILE_NAME = "godark.toml"

Origins = dict[str, str]


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
