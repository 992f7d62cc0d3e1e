"""Runs the checks of clients that need an environment of their own: `python -m tests.clients PYTHON [ARGUMENTS ...]`.

The servers run here; PYTHON is the clients' environment, and further arguments are pytest's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.end_to_end.server import run_server
from tests.end_to_end.spelling import run_writer

_FOLDER = Path(__file__).parent
_CALL = 'I look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>'


def main(python: str, *arguments: str) -> int:
    """Runs the checks and gives their exit status."""
    with (
        tempfile.TemporaryDirectory() as folder,
        run_server("--enable-tokenizer-info-endpoint") as demo,
        run_writer(Path(folder), _CALL) as caller,
    ):
        addresses = {"PORTICO_DEMO": demo.base_url, "PORTICO_CALLER": caller.base_url}
        command = [python, "-m", "pytest", "-c", str(_FOLDER / "pytest.ini"), *(arguments or (str(_FOLDER),))]
        return subprocess.run(command, env=os.environ | addresses, cwd=_FOLDER.parents[1], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
