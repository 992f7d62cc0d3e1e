"""How long a step may show no progress before it is taken for hung."""

from __future__ import annotations

from portico.engines.native.decoder import DecoderConfig
from portico.engines.native.scheduler import Step

# Seconds that anything may take.
_ALWAYS = 6.0
# Progress shows at least once in a layer; a layer may take so many times its part of what the step should.
_MARGIN = 4
# Multiplications per second of the slowest machine, until a step was timed.
_SLOWEST = 1e9
# Seconds for each number of the distributions that tokens are drawn from.
_PER_LOGIT = 1e-7
# Weight of the newest step.
_NEWEST = 0.3


class Patience:
    """By the speed that the steps of a model had so far."""

    def __init__(self, config: DecoderConfig, num_parameters: int) -> None:
        self._num_parameters = num_parameters
        self._num_layers = config.num_layers
        # A token is multiplied with the keys and the values of each token before it.
        self._attention = 2 * config.num_layers * config.num_heads * config.head_dim
        self._vocab_size = config.vocab_size
        self._speed: float | None = None
        self._work = 0.0
        self.seconds = _ALWAYS

    def begin(self, step: Step) -> None:
        """A step begins: `seconds` is what it may take without progress."""
        drafts = step.drafts or ((),) * len(step.sequences)
        pairs = zip(step.sequences, drafts, strict=True)
        sizes = [(1 + len(draft), len(each.token_ids) + len(draft)) for each, draft in pairs]
        num_drawn = sum(num_tokens for num_tokens, _ in sizes) + sum(chunk.sequence.width for chunk in step.chunks)
        sizes += [(chunk.end - chunk.start, chunk.end) for chunk in step.chunks]
        self._work = float(sum(new * (self._num_parameters + end * self._attention) for new, end in sizes))
        per_layer = self._work / self._num_layers
        computing = per_layer / _SLOWEST if self._speed is None else _MARGIN * per_layer / self._speed
        self.seconds = _ALWAYS + computing + num_drawn * self._vocab_size * _PER_LOGIT

    def note(self, seconds: float) -> None:
        """The model has evaluated the step in so many seconds."""
        if seconds > 0:
            newest = self._work / seconds
            self._speed = newest if self._speed is None else self._speed + _NEWEST * (newest - self._speed)
