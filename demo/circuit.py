"""A copying circuit set by hand before training, so that none of the short run is spent on finding one.

Two attention layers suffice to copy: in the first a head carries every token's *predecessor* along; in the second
a head looks for the place whose predecessor is the present token, and copies what stands there (an induction head).
Training starts from these weights and may change all of them; what to copy, and when, it has to learn.
"""

import math

import torch
from torch import Tensor

from demo.model import Attention, Qwen2

# The last RESERVED dimensions of the residual stream start empty and receive the predecessor.
RESERVED = 64
# Rotation scrambles what is matched over long distances; below this angle per token it does not.
SLOW = 0.006
EMBEDDING_STD = 0.1


def wire(model: Qwen2) -> None:
    """Set the embeddings, head 0 of layer 0 and the heads of layer 1."""
    size = model.config.hidden_size - RESERVED
    if model.config.head_dim != RESERVED:
        raise ValueError(f"the circuit is laid out for heads of {RESERVED}, not {model.config.head_dim}")
    embeddings = model.model.embed_tokens.weight
    torch.nn.init.normal_(embeddings, std=EMBEDDING_STD)
    embeddings.data[:, size:] = 0
    torch.nn.init.constant_(model.model.norm.weight, 1.5)
    projection = torch.linalg.qr(torch.randn(size, RESERVED)).Q.T
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    assert isinstance(first, Attention)
    assert isinstance(second, Attention)
    with torch.no_grad():
        _carry_predecessor(first, model.inv_freq, projection)
        _match_and_copy(second, model.inv_freq, projection)


def _carry_predecessor(attention: Attention, inv_freq: Tensor, projection: Tensor) -> None:
    """Head 0 attends one token back, by its biases alone, and writes that token's projection to the reserved part."""
    half = RESERVED // 2
    fast = torch.where(inv_freq > 0.1, 9.0, 0.0)
    for linear in (attention.q_proj, attention.k_proj):
        linear.weight[:RESERVED] = 0
    attention.k_proj.bias[:half] = fast
    attention.q_proj.bias[:half] = fast * inv_freq.cos()
    attention.q_proj.bias[half:RESERVED] = -fast * inv_freq.sin()
    attention.v_proj.weight[:RESERVED] = 0
    attention.v_proj.weight[:RESERVED, :-RESERVED] = projection
    # The written part is as long as the embedding itself.
    gain = EMBEDDING_STD * math.sqrt(projection.shape[1] / attention.o_proj.weight.shape[0] / 0.5)
    attention.o_proj.weight[-RESERVED:, :RESERVED] = gain * torch.eye(RESERVED)


def _match_and_copy(attention: Attention, inv_freq: Tensor, projection: Tensor) -> None:
    """Every head compares the present token with each place's predecessor; head i copies the i-th 64 dimensions."""
    slow = (inv_freq < SLOW).repeat(2).float()[:, None]
    size = attention.o_proj.weight.shape[0] - RESERVED
    for start in range(0, size, RESERVED):
        rows = slice(start, start + RESERVED)
        attention.q_proj.weight[rows] = 0
        attention.k_proj.weight[rows] = 0
        attention.v_proj.weight[rows] = 0
        attention.q_proj.weight[rows, :size] = 1.8 * slow * projection
        attention.k_proj.weight[rows, size:] = 1.8 * slow * torch.eye(RESERVED)
        attention.v_proj.weight[rows, rows] = torch.eye(RESERVED)
        attention.o_proj.weight[rows, rows] = 0.35 * torch.eye(RESERVED)
