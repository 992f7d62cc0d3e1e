"""Paths of the machinery around several instances, and of adapters: the load is told, orders are refused.

Source: the source code of MindIE-LLM 3.0, `http_handler.cpp`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portico.core.dialect import RawRequest, Reply
from portico.core.errors import RequestError
from portico.core.model import ServerStatus
from portico.dialects import wire

# The numbers of states that MindIE has.
_NORMAL, _ABNORMAL = 1, 2


class NotHere(RequestError):
    """An order that there is nobody for."""


def describe_status(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /v1/status`: the load of the one instance, which does both prefill and decode."""
    return _json(_status(status))


def describe_status_v2(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /v2/status`: the same, and by rank, of which there is one."""
    told = _status(status)
    free = status.stats.num_free_blocks
    told["resource"] |= {
        "totalAvailNpuSlotsNum": told["resource"]["availSlotsNum"],
        "totalAvailNpuBlockNum": free,
        "dpInstMap": [[0, free]],
        "maxAvailNpuBlockNum": free,
    }
    return _json(told)


def describe_running(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /v1/engine-server/running-status`: a number; faults are in the log."""
    return _json({"status": _NORMAL if status.is_ready else _ABNORMAL, "errors": []})


def refuse(reason: str) -> Callable[[RawRequest, ServerStatus], Reply]:
    """A route that refuses every order, with a sentence."""

    def describe(raw: RawRequest, status: ServerStatus) -> Reply:
        raise NotHere(reason)

    return describe


def _status(status: ServerStatus) -> dict[str, Any]:
    stats = status.stats
    return {
        "service": {"roleStatus": "RoleReady" if status.is_ready else "RoleUnknown", "currentRole": "none"},
        "resource": {
            "availSlotsNum": max(status.limits.max_num_seqs - stats.num_running, 0),
            "availBlockNum": stats.num_free_blocks,
            "waitingRequestNum": stats.num_waiting,
            "runningRequestNum": stats.num_running,
            "swappedRequestNum": 0,
            "freeNpuBlockNums": stats.num_free_blocks,
            "freeCpuBlockNums": 0,
            "totalNpuBlockNums": stats.num_blocks,
            "totalCpuBlockNums": 0,
        },
        "linkStatus": {"peers": []},
    }


def _json(value: dict[str, Any]) -> Reply:
    return Reply(200, wire.encode_json(value))
