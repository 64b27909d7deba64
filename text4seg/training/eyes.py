"""Before the tiny model learns to write it learns to see: its vision tower names what lies in the quarters of a cell.

    python -m text4seg.training.eyes --config conf/tiny-pretrain.yaml --out runs/tiny-eyes [--steps 600]

Real backbones bring a pre-trained tower; the tiny one has to make its own. Trained through the text alone it knew
colours after 2,000 steps and no shape at all (see docs/architecture.md); with a linear head on its features, which is
thrown away afterwards, both take two minutes. Targets are the masks of the `all` questions of the same shards, on a
grid twice as fine as the image tokens: a feature that tells its quarters apart can serve finer grids than its own.

Axis legend: B pictures, T image tokens, Q quarters of a cell (4), W words.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from text4seg.config import Config, load
from text4seg.mistakes import guarded

if TYPE_CHECKING:
    from torch import Tensor

    from text4seg.data.types import Sample
    from text4seg.models.processor import ImageGeometry

BATCH = 32
QUARTERS = 4
PEAK_RATE = 2e-3
WARMUP = 50


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code (0, or 2 for a mistake in what was asked for)."""
    parser = argparse.ArgumentParser(
        prog="python -m text4seg.training.eyes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, required=True, help="the recipe whose training set is used")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--steps", type=int, default=600, help="steps of 32 pictures; default: %(default)s")
    given = parser.parse_args(argv)
    return guarded(lambda: _train(load(given.config, [], Config), given.out, given.steps))


def _train(config: Config, out: Path, steps: int) -> int:
    from dataclasses import replace

    import torch
    from rich.console import Console
    from torch import nn

    from text4seg.data.datamodule import ShardDataModule
    from text4seg.models.registry import load_backbone

    console = Console(markup=False)
    backbone = load_backbone(replace(config.model, path="random"))
    data = ShardDataModule(config.data, backbone.processor, config.seed)
    data.prepare_data()
    tower = backbone.part("vision")
    torch.manual_seed(config.seed)
    num_words = len(words())
    head = nn.Linear(tower.config.hidden_size, QUARTERS * num_words)  # type: ignore[union-attr]
    weights = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    right = total = 0
    for step, (pixels, targets, scheme) in enumerate(_batches(config, backbone.processor.geometry), 1):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, step / WARMUP, (steps - step + 1) / (0.3 * steps))
        features_BTC = tower(pixel_values=pixels).last_hidden_state
        logits = head(features_BTC).unflatten(-1, (QUARTERS, num_words)).masked_fill(~scheme[:, None, None], -1e4)
        loss = nn.functional.cross_entropy(logits.flatten(0, 2), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        there = targets > 0
        right += int((logits.argmax(-1) == targets)[there].sum())
        total += int(there.sum())
        if step % 50 == 0:
            console.print(
                f"step {step}/{steps} · loss {loss.item():.3f} · {right / total:.1%} of the quarters named right"
            )
            right = total = 0
        if step == steps:
            break
    backbone.save(out)
    console.print(f"written to {out}")
    return 0


def words() -> list[str]:
    """What a cell can be: `others`, a shape, or a colour."""
    from text4seg.data.sources.scenes.things import COLOURS, SHAPES
    from text4seg.descriptors import OTHERS

    return [OTHERS, *SHAPES, *COLOURS]


def _batches(config: Config, geometry: ImageGeometry) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Pixels ``[B, 3, S, S]``, words of the cells' quarters ``[B, T, Q]``, and which words are asked for ``[B, W]``."""
    import torch

    from text4seg.data.image import open_image

    held: list[tuple[Tensor, Tensor, Tensor]] = []
    for epoch in count():
        usable = False
        for sample in _samples(config, epoch):
            target = _target(sample, geometry.tokens_a_side)
            if target is None:
                continue
            usable = True
            held.append((geometry.pixels(open_image(sample.image, sample.key)), *target))
            if len(held) == BATCH:
                pixels, targets, schemes = zip(*held, strict=True)
                yield torch.stack(pixels), torch.stack(targets), torch.stack(schemes)
                held = []
        if not usable:
            raise ValueError(
                "`data.train` has no `all` question about shapes or colours to learn from: build it from source scenes "
                "with task all."
            )


def _samples(config: Config, epoch: int) -> Iterator[Sample]:
    from text4seg.data.datamodule import folder_of
    from text4seg.data.order import generator, shards_of, shuffled
    from text4seg.data.shards.index import Index
    from text4seg.data.shards.read import records

    folder = folder_of(config.data.train)
    order = shards_of(Index.load(folder).shards, config.seed, epoch, 0, 1)
    stream = (record.sample() for entry in order for record in records(folder / entry.name))
    yield from shuffled(stream, config.data.shuffle_buffer, generator("eyes", config.seed, epoch))


def _target(sample: Sample, side: int) -> tuple[Tensor, Tensor] | None:
    """Word of each quarter ``[T, Q]`` and which words are asked for ``[W]``; None without an `all` question."""
    import torch

    from text4seg.data.sources.scenes.things import COLOURS, SHAPES
    from text4seg.descriptors import rasterize

    known = words()
    for turn, plane in zip(sample.turns, sample.masks, strict=True):
        if turn.task != "all" or not set(turn.labels) <= set(known):
            continue
        ids = rasterize(plane, turn.labels, (2 * side, 2 * side)).ids
        scheme = {known[0], *(SHAPES if turn.labels[1] in SHAPES else COLOURS)}
        quarters = ids.reshape(side, 2, side, 2).swapaxes(1, 2).reshape(side * side, QUARTERS)
        words_TQ = torch.tensor([known.index(label) for label in turn.labels])[torch.from_numpy(quarters).long()]
        return words_TQ, torch.tensor([word in scheme for word in known])
    return None


if __name__ == "__main__":
    sys.exit(main())
