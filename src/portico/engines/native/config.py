"""What an operator can set on the native engine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from portico.core.option import option
from portico.engines.native.kernels.library import VARIANTS

DTYPES = ("auto", "float32", "float16", "bfloat16", "int8", "int4")
THREAD_WAITS = ("spin", "passive")
DEVICES = ("auto", "cpu", "cuda")
KERNELS = ("auto", "own", *VARIANTS, "torch")
KV_CACHE_DTYPES = ("auto", "float32", "float16")
# How often a thread looks for work before it sleeps.
SPIN_TURNS = 20_000


@dataclass(frozen=True, slots=True)
class NativeConfig:
    """Settings of the native engine; None is decided when the model is loaded.

    Attributes:
        dtype: how weights are held. On a CPU float16, int8 and int4 are formats of the weights of products, and what is
            computed with them is float32. auto is bfloat16 on a GPU; on a CPU float32, or float16 for checkpoints of 16
            bits, which lose nothing by it, and bfloat16 for those of it where the processor has AMX.
        device: auto is a GPU if PyTorch sees one.
        max_model_len: prompt and output tokens together; None is what the checkpoint and the KV cache allow.
        max_num_seqs: sequences that run at once.
        max_num_batched_tokens: prompt tokens of one step; a longer prompt takes several steps.
        block_size: tokens of one block of KV cache.
        enable_prefix_caching: prompts that begin alike share what was evaluated of their beginnings, also after the
            first of them has ended.
        kv_cache_memory: bytes of KV cache; None is what `max_num_seqs` full sequences need, but no more than a quarter
            of a CPU's or nine tenths of a GPU's memory that is free once the weights are loaded.
        kv_cache_dtype: how keys and values are held. auto is float16 with the engine's own kernels, or float32 with
            weights of float32; without them it is what is computed with.
        num_speculative_tokens: tokens that a step guesses and checks besides, by what a sequence said before; they are
            shared out among those that run. The answer is the same with any number. None is four, or none without
            the engine's own kernels.
        num_threads: threads of the worker on a CPU; None is the number of cores it may use, and one for small models.
        kernels: what computes products and attention on a CPU; auto is the engine's own kernels where they were built
            and PyTorch's elsewhere. The name of instructions is the engine's own for these, so that processors that
            differ compute in the same way.
        thread_wait: how threads on a CPU wait at a barrier: spin looks for work for a short while before it sleeps.
        load_timeout: seconds without progress after which loading is given up; 0 is none.
    """

    dtype: str = option("auto", "number format of the weights", choices=DTYPES)
    device: str = option("auto", "where the model runs", choices=DEVICES)
    max_model_len: int | None = option(
        None,
        "prompt and output tokens together at most (default: what the checkpoint and the KV cache allow)",
        metavar="TOKENS",
    )
    max_num_seqs: int = option(64, "sequences that run at once", metavar="N")
    max_num_batched_tokens: int = option(2048, "prompt tokens evaluated in one step", metavar="TOKENS")
    block_size: int = option(16, "tokens of one block of KV cache", metavar="TOKENS")
    enable_prefix_caching: bool = option(True, "keep what was evaluated of prompts for others that begin alike")
    kv_cache_memory: int | None = option(
        None,
        "memory for the KV cache (default: for --max-num-seqs of full length, but no more than a quarter of a CPU's or "
        "nine tenths of a GPU's free memory)",
        metavar="BYTES",
    )
    kv_cache_dtype: str = option(
        "auto",
        "number format of keys and values on a CPU; auto is float16, or float32 with weights of float32",
        choices=KV_CACHE_DTYPES,
    )
    num_speculative_tokens: int | None = option(
        None,
        "tokens that a step guesses and checks besides, by what was said before; 0 is none (default: 4, with the "
        "engine's own kernels)",
        metavar="N",
    )
    num_threads: int | None = option(
        None, "threads of the engine on a CPU (default: one for each core, for small models one)", metavar="N"
    )
    kernels: str = option(
        "auto",
        "what computes on a CPU: the engine's own kernels, those for some instructions, or PyTorch's",
        choices=KERNELS,
    )
    thread_wait: str = option(
        "spin",
        "how threads on a CPU wait for each other: spin is faster on cores of the engine's own, passive on busy ones",
        choices=THREAD_WAITS,
    )
    load_timeout: float = option(300.0, "longest time of loading without progress, 0 is without end", metavar="SECONDS")

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is one of {', '.join(DTYPES)}, not {self.dtype}.")
        if self.kv_cache_dtype not in KV_CACHE_DTYPES:
            raise ValueError(f"kv_cache_dtype is one of {', '.join(KV_CACHE_DTYPES)}, not {self.kv_cache_dtype}.")
        if self.thread_wait not in THREAD_WAITS:
            raise ValueError(f"thread_wait is one of {', '.join(THREAD_WAITS)}, not {self.thread_wait}.")
        if self.kernels not in KERNELS:
            raise ValueError(f"kernels is one of {', '.join(KERNELS)}, not {self.kernels}.")
        if self.device not in DEVICES:
            raise ValueError(f"device is one of {', '.join(DEVICES)}, not {self.device}.")
        for name in (
            "max_model_len",
            "max_num_seqs",
            "max_num_batched_tokens",
            "block_size",
            "kv_cache_memory",
            "num_threads",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is at least 1, not {value}.")
        if not 0 <= self.load_timeout < math.inf:
            raise ValueError(f"load_timeout is at least 0 seconds, not {self.load_timeout}.")
        if self.num_speculative_tokens is not None and self.num_speculative_tokens < 0:
            raise ValueError(f"num_speculative_tokens is at least 0, not {self.num_speculative_tokens}.")
