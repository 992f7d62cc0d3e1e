"""Settings for the property tests of the dialects."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("dialects", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dialects")
