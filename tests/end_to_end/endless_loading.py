"""`portico` with an engine that does nothing else than load the model, for a quarter of an hour."""

from __future__ import annotations

import sys
import time
from typing import Any

from portico.cli import main

if __name__ == "__mp_main__":
    # In the process of the engine, which is the only one that has torch.
    from portico.engines.native import startup

    def _load_for_ever(checkpoint: object, dtype: object, device: object, on_progress: Any) -> None:
        on_progress(0.5)
        time.sleep(1000)

    vars(startup)["load_weights"] = _load_for_ever

if __name__ == "__main__":
    sys.exit(main())
