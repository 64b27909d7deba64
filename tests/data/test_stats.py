"""Statistics against figures worked out by hand, and through the door."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from shard_sets import make
from test_task_draws import png

from text4seg.config import load
from text4seg.data.image import open_image
from text4seg.data.items import conversation
from text4seg.data.settings import BuildSettings
from text4seg.data.shards.build import build
from text4seg.data.shards.index import Index
from text4seg.data.shards.read import records
from text4seg.data.shards.stats import Tally, statistics
from text4seg.data.stream import encode_checked
from text4seg.data.types import Turn
from text4seg.data.variants import Curriculum
from text4seg.models.registry import load_processor
from text4seg.shards import main


def test_lost_objects_ceilings_and_lengths_by_hand():
    plane = np.zeros((8, 8), np.uint8)
    plane[:, :3] = 1
    plane[0, 7] = 2  # one pixel, which no cell of 4x4 pixels samples
    tally = Tally()
    turn = Turn("q", "a:", ("others", "a", "b", "absent"), "conditioned")
    tally.add(turn, plane, (2, 2), "center", len)
    found = tally.plain(max_length=10)
    assert (found["objects"], found["lost"], found["questions"]) == (2, 1, 1)
    assert found["ceiling_cIoU"] == found["ceiling_gIoU"] == 24 / (32 + 1)
    assert found["length"]["median"] == len("a:\n<seg>a *1| others *1\n a *1| others *1\n</seg>")
    assert found["longer"] == 1.0


def test_what_repeats_is_counted(tmp_path):
    (tmp_path / "images").mkdir()
    rows = []
    for name in ("a", "b", "c"):
        (tmp_path / "images" / f"{name}.png").write_bytes(png(8, 8 if name < "c" else 9))
        size = [8, 8 if name < "c" else 9]
        objects = [{"label": "dog", "rle": {"size": size, "counts": [3, 5, size[0] * size[1] - 8]}}]
        rows.append(json.dumps({"id": name, "image": f"{name}.png", "objects": objects}))
    (tmp_path / "all.jsonl").write_text("\n".join(rows))
    options = {"annotations": str(tmp_path / "all.jsonl"), "images": str(tmp_path / "images")}
    build(BuildSettings("rle", options, "referring", shards=2), tmp_path / "out", (4, 4), "rrle", "center")
    found = statistics(tmp_path / "out", [4], ["center"])
    assert (found["samples"], found["repeated_images"], found["repeated_questions"]) == (3, 1, 1)


def left_out(folder, config, limit: int) -> list[bool]:
    """Of each conversation that training can draw whether the training stream refuses it."""
    processor, variant = load_processor(config.model), Curriculum(config.data).usual
    refused = []
    for entry in Index.load(folder).shards:
        for sample in (record.sample() for record in records(folder / entry.name)):
            image = open_image(sample.image, sample.key)
            single = [
                replace(sample, turns=(t,), masks=m[None]) for t, m in zip(sample.turns, sample.masks, strict=True)
            ]
            for drawn in single if config.data.turns == "one" else [sample]:
                said = conversation(drawn, variant, config.data.format_hint)
                try:
                    encode_checked(processor, image, sample.key, said, limit)
                    refused.append(False)
                except ValueError:
                    refused.append(True)
    return refused


@pytest.mark.parametrize(("turns", "codec"), [("all", "rrle"), ("one", "full")])
def test_what_is_counted_as_left_out_is_what_training_leaves_out(tmp_path, capsys, turns, codec):
    index = make(tmp_path / "set", count=8)
    settings = f"{{grid: [8, 8], rule: center, codec: {codec}, turns: {turns}, format_hint: true}}"
    (tmp_path / "c.yaml").write_text(f"name: counted\ndata: {settings}\n")
    asked = ["stats", str(tmp_path / "set"), "--grids", "8", "--rules", "center", "--config", str(tmp_path / "c.yaml")]
    assert main([*asked, "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)["grids"][0]["conversations"]
    config = load(tmp_path / "c.yaml", [])
    for limit in {*whole["length"].values(), whole["length"]["longest"] - 1}:
        refused = left_out(tmp_path / "set", config, limit)
        assert len(refused) == (index.turns if turns == "one" else index.samples)
        assert main([*asked, "--json", "--set", f"data.max_length={limit}"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["max_length"] == limit
        assert found["grids"][0]["conversations"]["longer"] == sum(refused) / len(refused)
        assert any(refused) == (limit < whole["length"]["longest"])
    assert main(asked) == 0
    assert "as fit counts them" in " ".join(capsys.readouterr().out.split())


def test_the_door_prints_and_plots(tmp_path, capsys):
    make(tmp_path / "set", count=6)
    assert main(["stats", str(tmp_path / "set"), "--grids", "4", "16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {(row["grid"], row["rule"]): row for row in found["grids"]}
    assert set(rows) == {(grid, rule) for grid in (4, 16) for rule in ("center", "labelled", "majority", "coverage")}
    for rule in ("center", "majority"):
        assert rows[4, rule]["ceiling_cIoU"] < rows[16, rule]["ceiling_cIoU"] < 1
    assert rows[4, "coverage"]["lost"] <= rows[4, "center"]["lost"]
    pytest.importorskip("matplotlib", reason="optional: pip install matplotlib")
    assert main(["stats", str(tmp_path / "set"), "--limit", "2", "--plot", str(tmp_path / "p.png")]) == 0
    assert "scenes" in capsys.readouterr().out
    assert (tmp_path / "p.png").stat().st_size > 1000
    assert main(["stats", str(tmp_path / "none")]) == 2
    assert main(["stats", str(tmp_path / "set"), "--grids", "0"]) == 2
