"""Train the demo model: `python -m demo.train --minutes 45 --out src/portico/demo/checkpoint`."""

import argparse
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW, Muon, Optimizer

from demo.circuit import wire
from demo.data import Batch, Encoder, dialogue_batches, repeat_batch
from demo.export import export, load
from demo.model import ModelConfig, Qwen2
from demo.tokenizer import build

SHIPPED = Path("src/portico/demo/checkpoint")
WARMUP_STEPS = 100
# Share of steps on random repeated sequences: they keep the copying circuit general.
REPEAT_SHARE = 0.1


@dataclass
class Progress:
    """How far a run is: by steps (repeatable to the bit) or, without a step limit, by minutes."""

    steps: int
    minutes: float
    step: int = 0
    tokens: int = 0
    started: float = 0.0

    @property
    def share(self) -> float:
        if self.steps:
            return self.step / self.steps
        return (time.monotonic() - self.started) / (60 * self.minutes)


def optimizers(model: Qwen2, lr: float) -> list[Optimizer]:
    """Muon for the weight matrices of the layers, AdamW for embeddings, norms and biases."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    return [
        Muon(matrices, lr=lr, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def learning_rate(progress: Progress, peak: float) -> float:
    """Warm-up, then half a cosine down to nearly nothing."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress.share)))
    return peak * min(1.0, (progress.step + 1) / WARMUP_STEPS) * (0.01 + 0.99 * cosine)


def loss_of(model: Qwen2, batch: Batch, device: torch.device) -> Tensor:
    """Mean cross-entropy over the counted predictions; logits are computed for these alone."""
    ids, counted = batch.ids.to(device), batch.counted.to(device)
    hidden = model.hidden(ids[:, :-1])[counted]
    return functional.cross_entropy(model.logits(hidden).float(), ids[:, 1:][counted])


def train(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if args.resume:
        model, tokenizer = load(args.resume)
    else:
        tokenizer = build()
        model = Qwen2(ModelConfig(tokenizer.get_vocab_size()))
        wire(model)
    model.to(device).train()
    dialogues = dialogue_batches(Encoder(tokenizer), rng, args.batch_tokens)
    steppers = optimizers(model, args.lr)
    progress = Progress(args.steps, args.minutes, started=time.monotonic())
    saved = time.monotonic()
    means = {"repeat": 0.0, "dialogue": 0.0}
    while progress.share < 1:
        repeat = rng.random() < REPEAT_SHARE
        batch = repeat_batch(model.config.vocab_size, rng, args.batch_tokens) if repeat else next(dialogues)
        lr = learning_rate(progress, args.lr)
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = lr
        loss = loss_of(model, batch, device)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad()
        progress.step += 1
        progress.tokens += batch.ids.numel()
        kind = "repeat" if repeat else "dialogue"
        means[kind] += (loss.item() - means[kind]) * (0.05 if means[kind] else 1.0)
        if progress.step % 50 == 0:
            seconds = time.monotonic() - progress.started
            losses = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
            print(
                f"step {progress.step}  {progress.tokens / 1e6:.2f}M tokens  {seconds:.0f}s  lr {lr:.1e}  {losses}",
                flush=True,
            )
        if time.monotonic() - saved > args.save_minutes * 60:
            export(model, tokenizer, args.out)
            saved = time.monotonic()
    export(model, tokenizer, args.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=SHIPPED, help="checkpoint folder to write")
    parser.add_argument("--minutes", type=float, default=38, help="wall-clock length of the run")
    parser.add_argument("--steps", type=int, default=0, help="length in steps instead, for a repeatable run")
    parser.add_argument("--resume", type=Path, help="go on from this checkpoint folder")
    parser.add_argument("--lr", type=float, default=2.5e-3)
    parser.add_argument("--batch-tokens", type=int, default=3072)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-minutes", type=float, default=4)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
