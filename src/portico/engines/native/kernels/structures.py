"""The structures of `decoder.cpp` and `products.h`, field by field."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_float, c_int32, c_int64, c_void_p

FLOAT32, FLOAT16, BFLOAT16, INT8, INT4 = range(5)


class Matrix(ctypes.Structure):
    """A packed matrix."""

    _fields_ = (
        ("panels", c_void_p),
        ("scales", c_void_p),
        ("corrections", c_void_p),
        ("bias", c_void_p),
        ("num_outputs", c_int64),
        ("num_inputs", c_int64),
        ("format", c_int32),
        ("is_paired", c_int32),
    )


class Layer(ctypes.Structure):
    """One layer and its cache."""

    _fields_ = (
        ("attention_norm", c_void_p),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("ffn_norm", c_void_p),
        ("qkv", Matrix),
        ("attention_out", Matrix),
        ("gate_up", Matrix),
        ("down", Matrix),
        ("cache", c_void_p),
    )


class Model(ctypes.Structure):
    """A decoder."""

    _fields_ = (
        ("num_layers", c_int64),
        ("hidden_size", c_int64),
        ("num_heads", c_int64),
        ("num_kv_heads", c_int64),
        ("head_dim", c_int64),
        ("ffn_size", c_int64),
        ("block_size", c_int64),
        ("cache_format", c_int32),
        ("norm_eps", c_float),
        ("slopes", c_void_p),
        ("final_norm", c_void_p),
        ("layers", POINTER(Layer)),
        ("head", Matrix),
    )


class Batch(ctypes.Structure):
    """The rows of a forward pass."""

    _fields_ = (
        ("num_rows", c_int64),
        ("num_segments", c_int64),
        ("segments", c_void_p),
        ("tables", c_void_p),
        ("table_stride", c_int64),
        ("cosines", c_void_p),
        ("sines", c_void_p),
        ("query_scales", c_void_p),
        ("hidden", c_void_p),
    )


class Choices(ctypes.Structure):
    """How rows of scores are drawn."""

    _fields_ = (
        ("temperatures", c_void_p),
        ("top_ks", c_void_p),
        ("top_ps", c_void_p),
        ("min_ps", c_void_p),
        ("uniforms", c_void_p),
    )


class Report(ctypes.Structure):
    """Where log-probabilities go."""

    _fields_ = (
        ("num_best", c_void_p),
        ("width", c_int64),
        ("logprobs", c_void_p),
        ("ranks", c_void_p),
        ("best_ids", c_void_p),
        ("best_logprobs", c_void_p),
    )
