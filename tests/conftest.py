"""For all tests: hypothesis does not look at the clock, which on a busy machine tells nothing about the code."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("easel", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("easel")
