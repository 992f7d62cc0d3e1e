"""Rotary position embedding (Su et al., arXiv 2104.09864) and the ways to stretch it over longer contexts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LinearScaling:
    """Positions divided by `factor` (Chen et al., arXiv 2306.15595)."""

    factor: float


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Long wavelengths divided by `factor`, short ones kept, those between blended (Llama 3.1)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_length: int


@dataclass(frozen=True, slots=True)
class YarnScaling:
    """YaRN (Peng et al., arXiv 2309.00071); cosines and sines are multiplied by `attention_factor`.

    Dimensions that turn more than `beta_fast` times in the original length are kept, those that turn less than
    `beta_slow` times are divided by `factor`; `rounds_range` moves the borders between them to whole dimensions.
    """

    factor: float
    attention_factor: float
    beta_fast: float
    beta_slow: float
    original_length: int
    rounds_range: bool


@dataclass(frozen=True, slots=True)
class DynamicScaling:
    """A base that grows with the sequence beyond its original length ("dynamic NTK" of transformers).

    A prompt is evaluated with the base for its length, and each later token with that for the length so far.
    """

    factor: float
    original_length: int


@dataclass(frozen=True, slots=True)
class PromptScaling:
    """A base that the prompt's length sets, in powers of two, for the whole sequence (`use_dynamic_ntk` of Qwen)."""

    original_length: int


Scaling = LinearScaling | Llama3Scaling | YarnScaling | DynamicScaling | PromptScaling


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """Base and scaling of a rotary embedding."""

    theta: float
    scaling: Scaling | None = None

    @property
    def depends_on_prompt(self) -> bool:
        """Whether keys differ with the length of the prompt, so that prompts with the same beginning share none."""
        return isinstance(self.scaling, DynamicScaling | PromptScaling)


class RotaryEmbedding:
    """Cosines and sines for rows of tokens, from tables where the scaling allows it."""

    def __init__(
        self, config: RopeConfig, head_dim: int, max_model_len: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._config = config
        self._exponents = (torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim).to(device)
        self._dtype = dtype
        if not config.depends_on_prompt:
            positions = torch.arange(max_model_len).float()
            angles = torch.outer(positions, frequencies(config, head_dim))
            cos, sin = _cos_sin(angles, _attention_factor(config))
            self._cos, self._sin = cos.to(device, dtype), sin.to(device, dtype)

    def __call__(self, positions: Tensor, prompt_lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each [rows, 1, head_dim]; the first half of the sines is negative, see `rotate`.

        Args:
            positions: [rows] int64, each token's place in its sequence.
            prompt_lengths: [rows] int64, the length of each row's prompt; needed if `depends_on_prompt`.
        """
        if not self._config.depends_on_prompt:
            return self._cos.index_select(0, positions), self._sin.index_select(0, positions)
        assert prompt_lengths is not None
        base = self._base(positions, prompt_lengths).unsqueeze(1)
        cos, sin = _cos_sin(positions.float().unsqueeze(1) / base**self._exponents, 1.0)
        return cos.to(self._dtype), sin.to(self._dtype)

    def _base(self, positions: Tensor, prompt_lengths: Tensor) -> Tensor:
        """The base of each row, [rows]."""
        # Exponents are those of pairs of dimensions; the last one is (head_dim - 2) / head_dim.
        power = 1.0 / float(self._exponents[-1])
        match self._config.scaling:
            case DynamicScaling(factor, original_length):
                lengths = torch.maximum(positions + 1, prompt_lengths).clamp(min=original_length).double()
                growth = factor * lengths / original_length - (factor - 1)
            case PromptScaling(original_length):
                doublings = (prompt_lengths.double() / original_length).log2().ceil()
                growth = (2.0 ** (doublings + 1) - 1).clamp(min=1.0)
            case _:
                raise AssertionError("this scaling has tables")
        return (self._config.theta * growth**power).float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Turns [rows, heads, head_dim] in place, pairing the two halves of the dimensions."""
    swapped = x.roll(x.shape[-1] // 2, -1)
    x.mul_(cos).addcmul_(swapped, sin)


def frequencies(config: RopeConfig, head_dim: int) -> Tensor:
    """Radians per position of each pair of dimensions, [head_dim / 2], for scalings that are the same everywhere."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    plain = 1.0 / config.theta**exponents
    match config.scaling:
        case LinearScaling(factor):
            return plain / factor
        case Llama3Scaling():
            return _llama3_frequencies(plain, config.scaling)
        case YarnScaling():
            return _yarn_frequencies(plain, config.theta, config.scaling)
        case _:
            return plain


def _llama3_frequencies(plain: Tensor, scaling: Llama3Scaling) -> Tensor:
    turns = scaling.original_length * plain / (2 * math.pi)
    share_kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    share_kept = share_kept.clamp(0, 1)
    return (1 - share_kept) * plain / scaling.factor + share_kept * plain


def _yarn_frequencies(plain: Tensor, theta: float, scaling: YarnScaling) -> Tensor:
    head_dim = 2 * len(plain)

    def dimension_of(num_turns: float) -> float:
        """The dimension that turns so often in the original length."""
        return head_dim * math.log(scaling.original_length / (num_turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension_of(scaling.beta_fast), dimension_of(scaling.beta_slow)
    if scaling.rounds_range:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    # The smallest of steps where both are the same dimension.
    width = high - low or 0.001
    share_scaled = ((torch.arange(len(plain)).float() - low) / width).clamp(0, 1)
    return plain / scaling.factor * share_scaled + plain * (1 - share_scaled)


def _attention_factor(config: RopeConfig) -> float:
    return config.scaling.attention_factor if isinstance(config.scaling, YarnScaling) else 1.0


def _cos_sin(angles: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """[rows, head_dim / 2] to cosines and sines [rows, 1, head_dim]."""
    cos, sin = angles.cos() * factor, angles.sin() * factor
    return torch.cat([cos, cos], dim=1).unsqueeze(1), torch.cat([-sin, sin], dim=1).unsqueeze(1)
