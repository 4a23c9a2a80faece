"""What every test relies on: Hypothesis without chance and without a clock."""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
# `HYPOTHESIS_PROFILE=explore` looks for new examples; it is never what CI runs.
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
