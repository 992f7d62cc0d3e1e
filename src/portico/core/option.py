"""Configuration fields that command-line flags are generated from."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    metavar: str | None = None,
    is_secret: bool = False,
    bare: str | None = None,
) -> Any:
    """A dataclass field with the text of its command-line flag; `bare` is what the flag means without a value.

    A secret one is left out where the configuration is shown, and its flag takes one value each time, so that it
    swallows no other argument.
    """
    metadata = {"help": help, "choices": choices, "metavar": metavar, "is_secret": is_secret, "bare": bare}
    return field(default=default, repr=not is_secret, metadata=metadata)
