from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure: examples are bounded in number, not in time.
settings.register_profile("portico", deadline=None)
settings.load_profile("portico")
