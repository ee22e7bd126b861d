"""Settings that all tests share."""

from __future__ import annotations

import os

from hypothesis import Phase, settings

# No deadline: the first example of a test may compile a kernel.
settings.register_profile("default", max_examples=60, deadline=None)
settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True, print_blob=True)
# To know that a test fails, nobody needs the smallest example.
settings.register_profile(
    "mutants", max_examples=60, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
