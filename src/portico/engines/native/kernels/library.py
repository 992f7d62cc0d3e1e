"""Finds the compiled kernels that are for this processor."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import logging
from ctypes import POINTER, c_int32, c_int64, c_void_p
from pathlib import Path

from portico.engines.native.kernels.structures import Batch, Choices, Matrix, Model, Report

# What the compiler takes for granted of x86-64-v3, in the system's words; the fourth level has all of it.
_LEVEL_3 = ("avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe")
_AVX512 = (*_LEVEL_3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni")
# The best first, each with what the processor must have.
VARIANTS = {
    "amx": (*_AVX512, "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"),
    "avx512": _AVX512,
    "avxvnni": (*_LEVEL_3, "avx_vnni"),
    "avx2": _LEVEL_3,
}
_CPUINFO = Path("/proc/cpuinfo")
# What functions and structures there are, as `decoder.cpp` numbers them.
_INTERFACE = 8

_logger = logging.getLogger(__name__)


@functools.cache
def load(variant: str | None = None) -> ctypes.CDLL | None:
    """The kernels of a variant, or the best ones; None if this processor cannot run them or there are none."""
    flags = _processor_flags()
    for name, needed in VARIANTS.items():
        if variant in (None, name) and flags.issuperset(needed):
            found = open_variant(name)
            if found is not None:
                return found
    return None


def open_variant(name: str) -> ctypes.CDLL | None:
    """The kernels of a variant, whatever the processor says of itself.

    None if they were not built, or not from these sources, or the system does not give what they need.
    """
    spec = importlib.util.find_spec(f"{__package__}.{name}")
    if spec is None or spec.origin is None:
        return None
    found = ctypes.CDLL(spec.origin)
    if getattr(found, "portico_interface", lambda: None)() != _INTERFACE:
        _logger.warning("%s was compiled from other sources: install again to use it", spec.origin)
        return None
    if not found.portico_is_usable():
        _logger.warning("the system does not let this process use the kernels for %s", name)
        return None
    return _with_signatures(found)


def _processor_flags() -> frozenset[str]:
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), ()))


def _with_signatures(library: ctypes.CDLL) -> ctypes.CDLL:
    for name, result, arguments in (
        ("portico_panel", c_int64, ()),
        ("portico_byte_offset", c_int64, ()),
        ("portico_block_numbers", c_int64, (c_int64, c_int64, c_int64)),
        ("portico_packed_bytes", c_int64, (c_int32, c_int64, c_int64)),
        ("portico_pack", None, (c_void_p, c_int64, POINTER(Matrix))),
        ("portico_unpack", None, (POINTER(Matrix), c_void_p, c_int64, c_void_p)),
        ("portico_create", c_void_p, (POINTER(Model), c_int64, c_int64)),
        ("portico_destroy", None, (c_void_p,)),
        ("portico_forward", c_int32, (c_void_p, POINTER(Batch))),
        ("portico_draw", c_int32, (c_void_p, c_void_p, c_int64, c_int64, POINTER(Choices), POINTER(Report), c_void_p)),
        ("portico_describe", c_int32, (c_void_p, c_void_p, c_int64, c_int64, c_void_p, POINTER(Report))),
        ("portico_head", c_int32, (c_void_p, c_void_p, c_int64, c_void_p)),
        ("portico_best", c_int32, (c_void_p, c_void_p, c_int64, c_void_p)),
    ):
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
        if result is c_int32:
            function.errcheck = _check_memory
    return library


def _check_memory(lacks_memory: int, function: object, arguments: tuple[object, ...]) -> int:
    if lacks_memory:
        raise MemoryError("there is no memory for this step of the kernels")
    return lacks_memory
