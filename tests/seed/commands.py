"""The curl commands and request bodies of the cheat sheet, word for word."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

CHEAT_SHEET = Path(__file__).parent / "cheat_sheet.md"
ADDRESS = "http://127.0.0.1:1025"


def read_commands() -> list[str]:
    """Every curl command, with its line breaks."""
    commands: list[str] = []
    lines = iter(CHEAT_SHEET.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if not line.startswith("curl "):
            continue
        command = line
        while command.count("'") % 2 or command.endswith("\\"):
            command += "\n" + next(lines)
        commands.append(command)
    return commands


def read_bodies() -> list[dict[str, Any]]:
    """Request bodies that stand alone in a block, without a command."""
    blocks = re.findall(r"```\n(\{.*?\})\n```", CHEAT_SHEET.read_text(encoding="utf-8"), re.DOTALL)
    return [body for body in map(json.loads, blocks) if "object" not in body]
