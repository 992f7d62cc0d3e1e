"""`portico` with faults of the engine that requests bring about: see `tests.engines.native.faults`."""

from __future__ import annotations

import sys

from portico.cli import main

if __name__ == "__mp_main__":
    # In the process of the engine, which is the only one that has torch.
    from tests.engines.native import faults

    faults.install()

if __name__ == "__main__":
    sys.exit(main())
