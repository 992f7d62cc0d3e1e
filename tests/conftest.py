from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A busy machine is no failure: examples are bounded in number, not in time. Integration runs the same examples every
# time; everybody else's runs look for new ones.
settings.register_profile(
    "portico",
    max_examples=100,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("portico")
