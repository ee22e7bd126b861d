"""The options every command that needs settings has: --config, --data-dir, --set."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from engine.common.settings import load


def _flags(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="SECTION.FIELD=VALUE",
            help="Override one setting; repeatable.",
        ),
        click.option(
            "--data-dir", type=click.Path(path_type=Path), help="Where everything durable lies [./data]."
        ),
        click.option("--config", type=click.Path(path_type=Path), help="Settings file [./godark.toml]."),
    ):
        function = option(function)
    return function


def settings_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a click callback: adds the options and passes the loaded `settings: Settings`."""

    @functools.wraps(function)
    def with_settings(
        *args: Any, config: Path | None, data_dir: Path | None, overrides: tuple[str, ...], **kwargs: Any
    ) -> Any:
        return function(*args, settings=load(config, list(overrides), data_dir), **kwargs)

    return _flags(with_settings)


def raw_settings_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `settings_options`, but passes `config`, `data_dir` and `overrides` as given."""
    return _flags(function)
