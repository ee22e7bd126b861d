"""`godark config`: the settings in force, and where each came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import orjson

from engine.app.options import raw_settings_options
from engine.common.settings import Settings, fields, load_with_origins


def _masked(url: str) -> str:
    """Scheme, host and port of a URL; what else it has may be an access token."""
    parts = urlsplit(url)
    host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    plain = not (parts.username or parts.password or parts.query or parts.path.strip("/"))
    return f"{parts.scheme}://{host}{'' if plain else '/…'}"


def effective(settings: Settings, origins: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Field → {value, origin}; URLs masked."""
    values = settings.model_dump(mode="json")
    rows = {}
    for name in fields():
        section, dot, field = name.partition(".")
        value = values[section][field] if dot else values[section]
        if name == "relayer.rpc_urls":
            value = [_masked(url) for url in value]
        rows[name] = {"value": value, "origin": origins.get(name, "default")}
    return rows


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "(none)"
    return "(none)" if value is None else str(value)


@click.command("config", help="Show the settings in force and where each came from.")
@raw_settings_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object: field → {value, origin}.")
def command(config: Path | None, data_dir: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    settings, origins = load_with_origins(config, list(overrides), data_dir)
    rows = effective(settings, origins)
    if as_json:
        click.echo(orjson.dumps(rows))
        return
    texts = {name: _text(row["value"]) for name, row in rows.items()}
    width = max(map(len, texts.values()))
    for name, row in rows.items():
        click.echo(f"{name:<24} {texts[name]:<{width}}  {row['origin']}")
