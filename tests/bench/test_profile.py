"""What samples add up to."""

from __future__ import annotations

import json
from pathlib import Path

import portico
from portico.bench.profile import read_profile


def test_samples_add_up_by_function_and_by_part(tmp_path: Path) -> None:
    source = Path(portico.__file__).parent
    rows = [
        [str(source / "web" / "sender.py"), "Sender.write", 3],
        [str(source / "web" / "endpoint.py"), "Endpoint._stream", 1],
        ["/lib/python3/site-packages/uvicorn/protocols/http/impl.py", "Cycle.send", 4],
    ]
    (tmp_path / "samples").write_text(json.dumps(rows))
    profile = read_profile(tmp_path / "samples")
    assert (profile.total, profile.parts) == (8, {"portico/web": 4, "uvicorn": 4})
    assert profile.own["portico/web: Sender.write"] == 3
    lines = [line.split() for line in profile.render().splitlines() if "Sender.write" in line]
    assert lines == [["portico/web:", "Sender.write", "37.5%"]]
