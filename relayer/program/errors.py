"""The errors of our programs by number: read from the header that the programs are compiled with."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path
from typing import Final

HEADER: Final = Path(__file__).parent / "include" / "errors.h"
_ENTRY: Final = re.compile(r"^\s+([A-Z_]+) = (\d+),?\s*(?:/\*.*\*/)?$", re.MULTILINE)

ProgramError = IntEnum(
    "ProgramError", [(name, int(number)) for name, number in _ENTRY.findall(HEADER.read_text())]
)
