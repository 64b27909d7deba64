"""One picture of what tuning did: image, truth, and each evaluation's prediction for the same questions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from text4seg.data.shards.index import Index
from text4seg.data.shards.read import records
from text4seg.report.overlay import open_picture
from text4seg.report.record import stored_mask
from text4seg.report.sheet import Entry, draw_sheet, spread

Place = tuple[str, int]


def demo_sheet(shards: Path, evaluations: Mapping[str, Path], out: Path, most: int = 12) -> Path:
    """Draw evaluations of one set side by side, spread evenly over the set.

    Args:
        shards: the set that was scored.
        evaluations: heading -> folder that `evaluate_run` wrote.
        out: the PNG to write.
        most: number of questions drawn.

    Returns:
        `out`.
    """
    answers = {heading: _answers(folder / "items.jsonl") for heading, folder in evaluations.items()}
    places = list(next(iter(answers.values())))
    wanted = [places[number] for number in spread(len(places), most)]
    samples = {}
    for entry in Index.load(shards).shards:
        for record in records(shards / entry.name):
            if any(record.key == key for key, _ in wanted):
                samples[record.key] = record.sample()
    entries = []
    for key, turn in wanted:
        sample, lines = samples[key], {heading: found[key, turn] for heading, found in answers.items()}
        truth = sample.masks[turn]
        panels = {"truth": truth, **{heading: stored_mask(line, truth.shape) for heading, line in lines.items()}}
        note = ", ".join(f"{heading} {line['iou']:.2f}" for heading, line in lines.items())
        ceiling = next(iter(lines.values()))["ceiling"]
        question = sample.turns[turn].question
        entries.append(Entry(open_picture(sample.image), panels, question, f"IoU {note}; ceiling {ceiling:.2f}"))
    draw_sheet(entries, side=128 + 32).save(out)
    return out


def _answers(path: Path) -> dict[Place, dict[str, Any]]:
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {(line["key"], line["turn"]): line for line in lines}
