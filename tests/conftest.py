"""Fixtures and settings that several test files share."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

pytest.register_assert_rewrite("examples", "timelines")

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
settings.register_profile(
    "default",
    max_examples=15,
    deadline=None,
    database=None,
    derandomize=True,
    # Whole scenarios are made small by strategies.smallest, in seconds instead of minutes.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=SLOW,
)
settings.register_profile("long", settings.get_profile("default"), max_examples=1000, derandomize=False)
settings.load_profile(os.environ.get("KAPOK_HYPOTHESIS_PROFILE", "default"))
