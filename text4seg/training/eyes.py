"""Before the tiny model learns to write it learns to see: its vision tower names the class of every cell.

    python -m text4seg.training.eyes --config conf/tiny-pretrain.yaml --out runs/tiny-eyes [--steps 700]

Real backbones bring a pre-trained tower; the tiny one has to make its own. Trained through the text alone it knew
colours after 2,000 steps and no shape at all (see docs/architecture.md); with a linear head on its features, which is
thrown away afterwards, both take two minutes. Targets are the masks of the `all` questions of the same shards.
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

BATCH = 32
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
    parser.add_argument("--steps", type=int, default=700, help="steps of 32 pictures; default: %(default)s")
    given = parser.parse_args(argv)
    return guarded(lambda: _train(load(given.config, [], Config), given.out, given.steps))


def _train(config: Config, out: Path, steps: int) -> int:
    from dataclasses import replace

    import torch
    from rich.console import Console
    from torch import nn

    from text4seg.data.datamodule import ShardDataModule
    from text4seg.models.registry import load_backbone

    console = Console()
    backbone = load_backbone(replace(config.model, path="random"))
    data = ShardDataModule(config.data, backbone.processor, config.seed)
    data.prepare_data()
    tower = backbone.part("vision")
    torch.manual_seed(config.seed)
    head = nn.Linear(tower.config.hidden_size, len(words()))  # type: ignore[union-attr]
    weights = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    right = total = 0
    for step, (pixels, targets, scheme) in enumerate(_batches(config, backbone.processor.geometry.pixels), 1):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, step / WARMUP, (steps - step + 1) / (0.3 * steps))
        logits = head(tower(pixel_values=pixels).last_hidden_state).masked_fill(~scheme[:, None], -1e4)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        there = targets > 0
        right += int((logits.argmax(-1) == targets)[there].sum())
        total += int(there.sum())
        if step % 50 == 0:
            console.print(
                f"step {step}/{steps} · loss {loss.item():.3f} · {right / total:.1%} of the cells named right"
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


def _batches(config: Config, pixels_of) -> Iterator[tuple[Tensor, Tensor, Tensor]]:  # type: ignore[no-untyped-def]
    """Pixels ``[B, 3, S, S]``, word of each cell ``[B, T]``, and which words the picture's question is about."""
    import torch

    from text4seg.data.image import open_image

    held: list[tuple[Tensor, Tensor, Tensor]] = []
    for sample in _samples(config):
        target = _target(sample)
        if target is not None:
            held.append((pixels_of(open_image(sample.image, sample.key)), *target))
        if len(held) == BATCH:
            pixels, targets, schemes = zip(*held, strict=True)
            yield torch.stack(pixels), torch.stack(targets), torch.stack(schemes)
            held = []


def _samples(config: Config) -> Iterator[Sample]:
    from text4seg.data.datamodule import folder_of
    from text4seg.data.order import generator, shards_of, shuffled
    from text4seg.data.shards.index import Index
    from text4seg.data.shards.read import records

    folder = folder_of(config.data.train)
    shards = Index.load(folder).shards
    for epoch in count():
        order = shards_of(shards, config.seed, epoch, 0, 1)
        stream = (record.sample() for entry in order for record in records(folder / entry.name))
        yield from shuffled(stream, config.data.shuffle_buffer, generator("eyes", config.seed, epoch))


def _target(sample: Sample) -> tuple[Tensor, Tensor] | None:
    import torch

    from text4seg.data.sources.scenes.things import COLOURS, SHAPES
    from text4seg.descriptors import rasterize

    known = words()
    for turn, plane in zip(sample.turns, sample.masks, strict=True):
        if turn.task != "all" or not set(turn.labels) <= set(known):
            continue
        ids = rasterize(plane, turn.labels, (8, 8)).ids.reshape(-1)
        scheme = {known[0], *(SHAPES if turn.labels[1] in SHAPES else COLOURS)}
        cells = torch.tensor([known.index(turn.labels[i]) for i in ids])
        return cells, torch.tensor([word in scheme for word in known])
    return None


if __name__ == "__main__":
    sys.exit(main())
