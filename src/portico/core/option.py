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
    begins: str | None = None,
) -> Any:
    """A dataclass field with the text of its command-line flag; `bare` is what the flag means without a value.

    `begins` is the title of a group of flags, of which this is the first; those that follow belong to it.
    A secret one is left out where the configuration is shown, and its flag takes one value each time, so that it
    swallows no other argument.
    """
    shown = {"help": help, "choices": choices, "metavar": metavar, "begins": begins}
    return field(default=default, repr=not is_secret, metadata={**shown, "is_secret": is_secret, "bare": bare})
