"""Builds a ready engine core from a checkpoint: device, number format, weights and the size of the KV cache."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import torch

from portico.core.engine import EngineStartError
from portico.core.model import ModelInfo
from portico.core.process_memory import resident_bytes
from portico.engines.native import kernel_runner
from portico.engines.native.attention import KVCache
from portico.engines.native.block_manager import BlockManager
from portico.engines.native.config import SPIN_TURNS, NativeConfig
from portico.engines.native.decoder import Decoder, DecoderConfig
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.kernel_runner import KernelRunner
from portico.engines.native.kernels.library import VARIANTS, load
from portico.engines.native.loader import load_weights, read_checkpoint
from portico.engines.native.memory import available_memory
from portico.engines.native.messages import Ready
from portico.engines.native.model_runner import ModelRunner
from portico.engines.native.quantization import FOUR_BITS, GROUP, compute_dtype, is_supported
from portico.engines.native.sampler import Sampler
from portico.engines.native.scheduler import Scheduler
from portico.engines.native.torch_runner import TorchRunner

# Handing out the work of so small a model takes longer than the work, and the server needs a core too.
_FEW_PARAMETERS = 16_000_000
_CPU_SHARE = 0.25
# With the token behind them the rows of one sequence are one tile of the kernels.
_MAX_DRAFTED = 4
_GPU_SHARE = 0.9


def build(path: Path, config: NativeConfig, on_progress: Callable[[float], None]) -> tuple[EngineCore, Ready]:
    """Loads the checkpoint; `on_progress` is told the loaded fraction, and 1 again whenever loading gets on after that.

    Raises:
        EngineStartError: it cannot be served with this configuration.
    """
    base_bytes = resident_bytes()
    device = _device(config.device)
    library = _kernels(config, device)
    checkpoint = read_checkpoint(path)
    prefers_bfloat16 = library is not None and bool(library.portico_prefers_bfloat16())
    dtype = _dtype(config.dtype, device, checkpoint.dtype, prefers_bfloat16=prefers_bfloat16)
    wanted_len = config.max_model_len or checkpoint.config.max_position
    if wanted_len > checkpoint.config.max_position:
        raise EngineStartError(
            f"max_model_len {wanted_len} is more than the {checkpoint.config.max_position} tokens that the checkpoint "
            f"was made for."
        )
    sizes = checkpoint.config
    cache_dtype = _cache_dtype(config.kv_cache_dtype, dtype, has_kernels=library is not None)
    if library is None:
        per_token = KVCache.bytes_per_token(sizes.num_layers, sizes.num_kv_heads, sizes.head_dim, cache_dtype)
        block_bytes = per_token * config.block_size
    else:
        block_bytes = kernel_runner.block_bytes(library, sizes, config.block_size, cache_dtype)
    if dtype is FOUR_BITS:
        _check_groups(sizes, has_kernels=library is not None)
    weights = load_weights(checkpoint, dtype, device, on_progress)
    num_parameters, weight_bytes = weights.num_parameters, weights.num_bytes
    num_threads = config.num_threads or _num_threads(num_parameters)
    torch.set_num_threads(num_threads)
    num_blocks = _num_blocks(config, wanted_len, block_bytes, device)
    max_model_len = _max_model_len(config, wanted_len, num_blocks)
    info = ModelInfo(
        architecture=checkpoint.architecture,
        dtype="int4" if dtype is FOUR_BITS else str(dtype).removeprefix("torch."),
        device=device.type,
        vocab_size=sizes.vocab_size,
        max_model_len=max_model_len,
        eos_token_ids=checkpoint.eos_token_ids,
        num_parameters=num_parameters,
    )
    runner: ModelRunner

    def on_layer() -> None:
        on_progress(1.0)

    if library is None:
        cache = KVCache(
            sizes.num_layers,
            num_blocks,
            config.block_size,
            sizes.num_kv_heads,
            sizes.head_dim,
            cache_dtype,
            device,
        )
        runner = TorchRunner(Decoder(sizes, weights, max_model_len, on_layer), cache)
    else:
        turns = 0 if config.thread_wait == "passive" else SPIN_TURNS
        kernel_decoder = KernelRunner(
            library,
            sizes,
            weights,
            max_model_len,
            num_blocks,
            config.block_size,
            cache_dtype,
            num_threads,
            turns,
            on_layer,
        )
        runner, weight_bytes = kernel_decoder, kernel_decoder.weight_bytes
        # What is left to torch is small, and threads of its own would take the cores from those of the kernels.
        torch.set_num_threads(1)
    # Where keys depend on the length of the prompt, prompts that begin alike have nothing in common.
    caches_prefixes = config.enable_prefix_caching and not (sizes.rope and sizes.rope.depends_on_prompt)
    block_manager = BlockManager(num_blocks, config.block_size, caches_prefixes=caches_prefixes)
    scheduler = Scheduler(
        block_manager,
        config.max_num_seqs,
        config.max_num_batched_tokens,
        mixes=runner.is_exact,
        caches_outputs=runner.is_exact,
        max_drafted=_max_drafted(config, is_exact=runner.is_exact),
    )
    core = EngineCore(info, scheduler, runner, Sampler(sizes.vocab_size, device, runner.drawing))
    return core, Ready(
        info,
        scheduler.stats(),
        num_blocks * block_bytes,
        num_threads,
        _kernels_name(library),
        weight_bytes,
        base_bytes,
    )


def _num_threads(num_parameters: int) -> int:
    return 1 if num_parameters < _FEW_PARAMETERS else len(os.sched_getaffinity(0))


def _device(name: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise EngineStartError("The device cuda was asked for, but PyTorch finds no usable GPU.")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def _dtype(name: str, device: torch.device, stored: str | None, *, prefers_bfloat16: bool = False) -> torch.dtype:
    """What `dtype` means on a device, for a checkpoint whose weights are stored as `stored`.

    With `prefers_bfloat16` it multiplies numbers of bfloat16 faster than those of float16.
    """
    has_kernels = device.type == "cpu" and is_supported()
    if name == "auto":
        if device.type != "cpu":
            return torch.bfloat16
        if prefers_bfloat16 and stored == "bfloat16":
            return torch.bfloat16
        return torch.float16 if has_kernels and stored in ("float16", "bfloat16") else torch.float32
    if name in ("float16", "int8") and not has_kernels:
        raise EngineStartError(f"The number format {name} is for x86 CPUs only; ask for bfloat16 or auto.")
    dtype: torch.dtype = FOUR_BITS if name == "int4" else getattr(torch, name)
    return dtype


def _cache_dtype(name: str, dtype: torch.dtype, *, has_kernels: bool) -> torch.dtype:
    """What keys and values are held in, with weights in `dtype`."""
    computed = compute_dtype(dtype)
    if not has_kernels:
        if name not in ("auto", str(computed).removeprefix("torch.")):
            raise EngineStartError(
                f"A KV cache of {name} (kv_cache_dtype) is for the engine's own kernels only; ask for auto."
            )
        return computed
    if name == "auto":
        return torch.float32 if dtype is torch.float32 else torch.float16
    cache_dtype: torch.dtype = getattr(torch, name)
    return cache_dtype


def _kernels(config: NativeConfig, device: torch.device) -> ctypes.CDLL | None:
    """The kernels to run with, or None for PyTorch's operations."""
    variant = config.kernels if config.kernels in VARIANTS else None
    library = load(variant) if device.type == "cpu" and config.kernels != "torch" else None
    if library is None and variant is not None:
        raise EngineStartError(
            f"Kernels for {variant} were asked for, but this device does not have these instructions, or the kernels "
            f"were not built when the package was installed."
        )
    if library is None and config.kernels == "own":
        raise EngineStartError(
            "Kernels of its own were asked for, but the engine has none for this device: they are for x86 CPUs with "
            "AVX2, and are built when the package is installed and finds a C++ compiler."
        )
    return library


def _kernels_name(library: ctypes.CDLL | None) -> str:
    """For the log."""
    return "PyTorch" if library is None else f"kernels for {Path(library._name).name.partition('.')[0]}"


def _check_groups(sizes: DecoderConfig, *, has_kernels: bool) -> None:
    if not has_kernels:
        raise EngineStartError("The number format int4 is for the engine's own kernels only; ask for int8 or auto.")
    for name, size in (
        ("hidden size", sizes.hidden_size),
        ("width of all heads", sizes.num_heads * sizes.head_dim),
        ("FFN width", sizes.ffn_size),
    ):
        if size % GROUP:
            raise EngineStartError(
                f"The number format int4 has one scale for {GROUP} weights, and the checkpoint's {name}, {size}, is no "
                f"multiple of that; ask for int8."
            )


def _max_drafted(config: NativeConfig, *, is_exact: bool) -> int:
    if config.num_speculative_tokens and not is_exact:
        raise EngineStartError(
            "Tokens are guessed (num_speculative_tokens) with the engine's own kernels only: without them guesses "
            "could change what is answered."
        )
    if config.num_speculative_tokens is None:
        return _MAX_DRAFTED if is_exact else 0
    return config.num_speculative_tokens


def _num_blocks(config: NativeConfig, max_model_len: int, block_bytes: int, device: torch.device) -> int:
    """How many blocks the cache has."""
    if config.kv_cache_memory is not None:
        return config.kv_cache_memory // block_bytes
    useful = config.max_num_seqs * -(-max_model_len // config.block_size)
    if device.type == "cpu":
        allowed = int(available_memory() * _CPU_SHARE)
    else:
        allowed = int(torch.cuda.mem_get_info(device)[0] * _GPU_SHARE)
    return min(useful, allowed // block_bytes)


def _max_model_len(config: NativeConfig, wanted_len: int, num_blocks: int) -> int:
    num_tokens = num_blocks * config.block_size
    if num_tokens < config.block_size or (config.max_model_len is not None and num_tokens < wanted_len):
        raise EngineStartError(
            f"The KV cache has room for {num_tokens} tokens, fewer than the context of {wanted_len}: give it more "
            f"memory (kv_cache_memory) or ask for a shorter context (max_model_len)."
        )
    return min(wanted_len, num_tokens)
