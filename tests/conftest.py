"""One hypothesis profile for everybody: no deadlines, and the same cases in every run."""

import os

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("deep", deadline=None, max_examples=5000)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
settings.load_profile(PROFILE)

if PROFILE == "ci":
    # Derandomized or not, hypothesis mixes in constants of all modules that happen to be loaded, if
    # their path looks like a project's: a test drew other cases alone than with its neighbours,
    # and others again in another checkout. There is no setting for it.
    # `tests/test_same_cases.py` notices if this has no effect any more.
    providers._get_local_constants = Constants
