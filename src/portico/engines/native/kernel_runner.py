"""Steps by the compiled kernels: one call for all layers, prompts and single tokens alike.

A row's result depends on its own sequence alone, to the bit: sums run in an order that has nothing to do with the
batch, the chunks of a prompt, or whether a token was in a prompt or generated (docs/decisions/015-kernels.md).
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from portico.core.freed_memory import give_back_freed_memory
from portico.engines.native.attention import alibi_slopes
from portico.engines.native.decoder import DecoderConfig, DecoderWeights, query_scales
from portico.engines.native.drawing import Drawing
from portico.engines.native.kernels.drawing import KernelDrawing
from portico.engines.native.kernels.memory import PanelMemory, zero_pages
from portico.engines.native.kernels.packing import FORMATS, PackedMatrix
from portico.engines.native.kernels.structures import INT8, Batch, Layer, Matrix, Model
from portico.engines.native.quantization import is_quantized
from portico.engines.native.rope import RotaryEmbedding
from portico.engines.native.scheduler import Step
from portico.engines.native.sequence import Sequence


def block_bytes(library: ctypes.CDLL, config: DecoderConfig, block_size: int, cache_dtype: torch.dtype) -> int:
    """Memory of one block of the KV cache in all layers."""
    return _layer_block_bytes(library, config, block_size, cache_dtype) * config.num_layers


def _layer_block_bytes(library: ctypes.CDLL, config: DecoderConfig, block_size: int, cache_dtype: torch.dtype) -> int:
    numbers: int = library.portico_block_numbers(block_size, config.num_kv_heads, config.head_dim)
    return numbers * cache_dtype.itemsize


def _packed_bytes(library: ctypes.CDLL, matrix: Matrix) -> int:
    """Memory of a packed matrix: with four bytes for the bias of a row, and eight for its scale if it has integers."""
    num_bytes: int = library.portico_packed_bytes(matrix.format, matrix.num_outputs, matrix.num_inputs)
    row_bytes: int = 4 * bool(matrix.bias) + 8 * (matrix.format == INT8)
    num_rows: int = matrix.num_outputs
    return num_bytes + row_bytes * num_rows


class KernelRunner:
    """See `ModelRunner`. The layers of `weights` are taken over; `turns` is how long threads spin before they sleep.

    `cache_dtype` is float32 or float16.
    `weight_bytes` is what all weights take as they are held. `on_layer` is called when a layer has been packed.
    """

    is_exact = True

    def __init__(
        self,
        library: ctypes.CDLL,
        config: DecoderConfig,
        weights: DecoderWeights,
        max_model_len: int,
        num_blocks: int,
        block_size: int,
        cache_dtype: torch.dtype,
        num_threads: int,
        turns: int,
        on_layer: Callable[[], None] = lambda: None,
    ) -> None:
        self._library = library
        self.config = config
        self._block_size = block_size
        dtype = weights.layers[0].qkv.dtype
        has_integers = is_quantized(weights.layers[0].qkv)
        cpu = torch.device("cpu")
        self._rotary = None
        if config.rope is not None:
            self._rotary = RotaryEmbedding(config.rope, config.head_dim, max_model_len, torch.float32, cpu)
        self._needs_prompt_lengths = config.rope is not None and config.rope.depends_on_prompt
        self._logits = torch.empty(0, config.vocab_size)
        # What the kernels are writing: layer after layer is added to hidden states, and logits come last.
        self._written = torch.empty(1, 1)
        num_bytes = _layer_block_bytes(library, config, block_size, cache_dtype)
        self._caches = [_pages(num_blocks, num_bytes) for _ in range(config.num_layers)]
        self._memory = PanelMemory()
        # What the structures point to must live as long as they do.
        self._owned: list[PackedMatrix | Tensor] = []
        layers = (Layer * config.num_layers)()
        plain, weights.layers = weights.layers[::-1], []
        for layer, cache in zip(layers, self._caches, strict=True):
            own = plain.pop()
            layer.attention_norm = self._vector(own.attention_norm)
            layer.q_norm = self._vector(own.q_norm)
            layer.k_norm = self._vector(own.k_norm)
            layer.ffn_norm = self._vector(own.ffn_norm)
            layer.qkv = self._matrix(own.qkv, dtype, own.qkv_bias)
            layer.attention_out = self._matrix(own.attention_out, dtype)
            layer.gate_up = self._matrix(own.gate_up, dtype, is_paired=True)
            layer.down = self._matrix(own.down, dtype)
            layer.cache = cache.ctypes.data
            del own
            on_layer()
            give_back_freed_memory()
        model = Model(
            num_layers=config.num_layers,
            hidden_size=config.hidden_size,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            ffn_size=config.ffn_size,
            block_size=block_size,
            cache_format=FORMATS[cache_dtype],
            norm_eps=config.norm_eps,
            slopes=None if config.rope else self._vector(torch.tensor(alibi_slopes(config.num_heads))),
            final_norm=self._vector(weights.final_norm),
            layers=layers,
            head=self._matrix(weights.head, torch.int8 if has_integers else dtype),
        )
        self._embed = self._embedding(weights)
        self.weight_bytes = sum(
            each.nbytes if isinstance(each, Tensor) else _packed_bytes(library, each.structure) for each in self._owned
        )
        if self._has_embedding(weights):
            self.weight_bytes += weights.embedding.nbytes
        del weights
        give_back_freed_memory()
        self._layers = layers
        self._decoder = library.portico_create(ctypes.byref(model), num_threads, turns)
        weakref.finalize(self, library.portico_destroy, self._decoder)
        self.drawing: Drawing = KernelDrawing(library, self._decoder)

    @torch.inference_mode()
    def evaluate(self, step: Step) -> Tensor:
        """See `ModelRunner`."""
        for source, destination in step.copies:
            for cache in self._caches:
                cache[destination] = cache[source]
        parts = [(each.sequence, each.start, each.sequence.token_ids[each.start : each.end]) for each in step.chunks]
        drafts = step.drafts or ((),) * len(step.sequences)
        for sequence, draft in zip(step.sequences, drafts, strict=True):
            parts.append((sequence, sequence.num_computed_tokens, [sequence.token_ids[-1], *draft]))
        return self._forward(parts)

    def progress(self) -> object:
        """See `ModelRunner`."""
        return self._written[[0, -1]].numpy().tobytes()

    @torch.inference_mode()
    def logits(self, hidden: Tensor, rows: list[int]) -> Tensor:
        """See `ModelRunner`."""
        return self._evaluate_head(_chosen(hidden, rows))

    @torch.inference_mode()
    def best(self, hidden: Tensor, rows: list[int]) -> list[int]:
        """See `ModelRunner`; the logits, of many rows as much as some layers' weights, are not written anywhere."""
        chosen = _chosen(hidden, rows)
        token_ids = torch.empty(len(rows), dtype=torch.int64)
        self._library.portico_best(self._decoder, chosen.data_ptr(), len(rows), token_ids.data_ptr())
        found: list[int] = token_ids.tolist()
        return found

    def _forward(self, parts: list[tuple[Sequence, int, list[int]]]) -> Tensor:
        """Evaluates tokens of sequences, which begin at a place; [rows, hidden]."""
        token_ids: list[int] = []
        positions: list[int] = []
        prompt_lengths: list[int] = []
        segments = np.empty((len(parts), 3), np.int32)
        num_blocks = max(-(-(start + len(tokens)) // self._block_size) for _, start, tokens in parts)
        tables = np.zeros((len(parts), num_blocks), np.int32)
        for index, (sequence, start, tokens) in enumerate(parts):
            segments[index] = len(token_ids), len(tokens), start
            table = sequence.block_table[:num_blocks]
            tables[index, : len(table)] = table
            token_ids += tokens
            positions += range(start, start + len(tokens))
            prompt_lengths += [sequence.num_prompt_tokens] * len(tokens)
        hidden = self._embed(torch.tensor(token_ids))
        places = torch.tensor(positions)
        batch = Batch(
            num_rows=len(token_ids),
            num_segments=len(parts),
            segments=segments.ctypes.data,
            tables=tables.ctypes.data,
            table_stride=num_blocks,
            hidden=hidden.data_ptr(),
        )
        if self._rotary is not None:
            lengths = torch.tensor(prompt_lengths) if self._needs_prompt_lengths else None
            cosines, sines = self._rotary(places, lengths)
            batch.cosines, batch.sines = cosines.data_ptr(), sines.data_ptr()
        if self.config.logn_length is not None:
            scales = query_scales(places, self.config.logn_length, torch.float32)
            batch.query_scales = scales.data_ptr()
        self._written = hidden
        self._library.portico_forward(self._decoder, ctypes.byref(batch))
        return hidden

    def _has_embedding(self, weights: DecoderWeights) -> bool:
        """Whether the embedding is held besides the head, whose numbers can be had again unless they are integers."""
        head = self._owned[-1]
        assert isinstance(head, PackedMatrix)
        return weights.head is not weights.embedding or head.structure.format == INT8

    def _embedding(self, weights: DecoderWeights) -> Callable[[Tensor], Tensor]:
        """What turns ids [n] into the vectors of tokens, [n, hidden] float32."""
        head = self._owned[-1]
        assert isinstance(head, PackedMatrix)
        if not self._has_embedding(weights):
            return head.rows
        embedding = weights.embedding
        return lambda token_ids: functional.embedding(token_ids, embedding).float()

    def _evaluate_head(self, hidden: Tensor) -> Tensor:
        num_rows = len(hidden)
        # Kept from step to step: so many fresh pages would take the system longer than the product takes.
        if num_rows > len(self._logits):
            self._logits = torch.empty(num_rows, self.config.vocab_size)
        logits = self._logits[:num_rows]
        self._written = logits
        self._library.portico_head(self._decoder, hidden.data_ptr(), num_rows, logits.data_ptr())
        return logits

    def _vector(self, values: Tensor | None) -> int | None:
        if values is None:
            return None
        kept = values.float().contiguous()
        self._owned.append(kept)
        return kept.data_ptr()

    def _matrix(
        self, weight: Tensor, dtype: torch.dtype, bias: Tensor | None = None, *, is_paired: bool = False
    ) -> ctypes.Structure:
        packed = PackedMatrix(self._library, weight, dtype, bias, is_paired=is_paired, memory=self._memory)
        self._owned.append(packed)
        return packed.structure


def _chosen(hidden: Tensor, rows: list[int]) -> Tensor:
    """Some rows; most steps need all as they are."""
    return hidden if rows == list(range(len(hidden))) else hidden[rows]


def _pages(num_blocks: int, block_bytes: int) -> npt.NDArray[np.uint8]:
    """Zeros [blocks, bytes], which take no memory until they are written: of small pages, as large ones may take
    milliseconds each to be found, for all layers in the same step.
    """
    return np.frombuffer(zero_pages(num_blocks * block_bytes), np.uint8).reshape(num_blocks, block_bytes)
