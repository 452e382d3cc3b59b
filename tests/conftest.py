"""Settings of all tests."""

import os

from hypothesis import settings

# A test's time says how busy the machine is, and the same examples everywhere mean that what passes
# here passes elsewhere. HYPOTHESIS_PROFILE=explore looks for new examples.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
