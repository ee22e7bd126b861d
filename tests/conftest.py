"""Settings that all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: the first example of a test may compile a kernel.
settings.register_profile("default", max_examples=60, deadline=None)
settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
