"""`python -m tests.conformance DIR…`: 0 all passed, 1 something failed, 2 a path is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conformance import harness


def main(arguments: list[str]) -> int:
    """Check the directories and print the report."""
    roots = [Path(argument) for argument in arguments]
    absent = [str(root) for root in roots if not root.exists()]
    if not roots or absent:
        print(
            f"no such directory: {', '.join(absent)}" if roots else "usage: python -m tests.conformance DIR…",
            file=sys.stderr,
        )
        return 2
    report = harness.run(roots)
    for line in report.lines():
        print(line)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
