"""The soak."""

from __future__ import annotations

from reliability.check import Check

CHECKS: tuple[Check, ...] = ()
