"""What the pages for people name is there: files, commands, options, settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.app.cli import ROOT, TABLE
from engine.common.settings import fields

PAGES = sorted(
    path for path in ROOT.rglob("README.md") if not {".venv", "vectors", ".cache"} & set(path.parts)
)
FIRST = ROOT / "README.md"
COMMANDS = {entry.name for entry in TABLE}
SECTIONS = {name.partition(".")[0] for name in fields() if "." in name}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / link).exists(), f"a link to {link}"
    for name in re.findall(r"(?:\./|`)godark ([a-z]+)", text):
        assert name in COMMANDS, f"a command {name}"
    for section, field in re.findall(r"(?:`|--set )([a-z]+)\.([a-z_]+)[`= ]", text):
        if section in SECTIONS and field != "py":
            assert f"{section}.{field}" in fields(), f"a setting {section}.{field}"


def test_every_page_can_be_found_from_the_first() -> None:
    assert len(PAGES) > 4
    linked = {FIRST}
    waiting = [FIRST]
    while waiting:
        page = waiting.pop()
        for link in re.findall(r"(?:\]\(|`)([\w/.]*README\.md|[\w/]+/)(?:\)|`)", page.read_text()):
            target = (page.parent / link).resolve()
            target = target / "README.md" if target.is_dir() else target
            if target.is_file() and target not in linked:
                linked.add(target)
                waiting.append(target)
    assert set(PAGES) <= linked, "pages that nothing leads to"
