"""Configuration fields that command-line flags are generated from."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def option(default: Any, help: str, *, choices: tuple[str, ...] | None = None, metavar: str | None = None) -> Any:
    """A dataclass field with the text of its command-line flag."""
    return field(default=default, metadata={"help": help, "choices": choices, "metavar": metavar})
